"""A page of a tenant's jobs of one status is found without a look at those of the others."""

from alembic import op

revision = "0011"
down_revision = "0010"

_COLUMNS = ["tenant", "status", "created_at", "id"]


def upgrade() -> None:
    """Add the index."""
    op.create_index("ix_jobs_tenant_status_created_at_id", "jobs", _COLUMNS)


def downgrade() -> None:
    """Drop it; pages are found all the same."""
    op.drop_index("ix_jobs_tenant_status_created_at_id", "jobs")
