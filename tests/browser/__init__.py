"""A package, so that its service and its browser end with its last test."""
