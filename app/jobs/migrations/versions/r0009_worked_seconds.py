"""How long workers have spent on a job; what was spent before does not count."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Add the column."""
    op.add_column("jobs", sa.Column("worked_seconds", sa.Float, nullable=False, server_default="0"))


def downgrade() -> None:
    """Drop it; every attempt has the whole time again."""
    op.drop_column("jobs", "worked_seconds")
