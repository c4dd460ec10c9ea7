"""Checkpoints: where a job goes on, and whether its caller wants it paused."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

_NEW = ("pause_requested", "checkpoint", "checkpoint_history")


def upgrade() -> None:
    """Add the columns; jobs that run meanwhile have made no checkpoint."""
    op.add_column(
        "jobs",
        sa.Column("pause_requested", sa.Boolean, nullable=False, server_default=sa.false()),
    )
    op.add_column("jobs", sa.Column("checkpoint", sa.Text))
    op.add_column(
        "jobs", sa.Column("checkpoint_history", sa.Integer, nullable=False, server_default="0")
    )


def downgrade() -> None:
    """Drop them; a job that was stopped begins anew."""
    for column in _NEW:
        op.drop_column("jobs", column)
