"""Retention: when a job goes by itself. Those that have finished already stay."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Add the column."""
    op.add_column("jobs", sa.Column("expires_at", sa.DateTime(timezone=True)))
    op.create_index("ix_jobs_expires_at", "jobs", ["expires_at"])


def downgrade() -> None:
    """Drop it; nothing goes by itself any more."""
    op.drop_index("ix_jobs_expires_at", "jobs")
    op.drop_column("jobs", "expires_at")
