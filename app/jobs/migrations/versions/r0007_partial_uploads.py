"""Uploads that come in pieces, until they are whole."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Add the table."""
    op.create_table(
        "partial_uploads",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("tenant", sa.String(63), nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("filename", sa.String(255), nullable=False),
        sa.Column("bytes", sa.BigInteger, nullable=False),
        sa.Column("metadata", sa.String(4096), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_partial_uploads"),
    )
    for column in ("tenant", "expires_at"):
        op.create_index(f"ix_partial_uploads_{column}", "partial_uploads", [column])


def downgrade() -> None:
    """Drop it; who was sending begins anew."""
    op.drop_table("partial_uploads")
