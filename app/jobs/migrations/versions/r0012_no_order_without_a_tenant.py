"""Jobs of all tenants by their age: nobody asks for them, and PostgreSQL took the wrong way."""

from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    """Drop the index: for a page of a status it was taken where the other finds it at once."""
    op.drop_index("ix_jobs_created_at_id", "jobs")


def downgrade() -> None:
    """Make it again."""
    op.create_index("ix_jobs_created_at_id", "jobs", ["created_at", "id"])
