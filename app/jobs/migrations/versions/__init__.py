"""The changes; ``down_revision`` chains them."""
