"""The contract between ``app`` and ``worker``: jobs, their store, their files, their queue."""
