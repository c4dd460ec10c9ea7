"""Webhooks: what they are told, and the secrets that this is signed with."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Add the tables."""
    op.create_table(
        "deliveries",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("tenant", sa.String(63), nullable=False),
        sa.Column("job_id", sa.String(40), nullable=False),
        sa.Column("url", sa.String(2048), nullable=False),
        sa.Column("type", sa.String(32), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("status", sa.String(32), nullable=False),
        sa.Column("attempts", sa.Text, nullable=False),
        sa.Column("next_attempt_at", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("id", name="pk_deliveries"),
        sa.ForeignKeyConstraint(
            ["job_id"], ["jobs.id"], name="fk_deliveries_job_id_jobs", ondelete="CASCADE"
        ),
    )
    for column in ("job_id", "next_attempt_at"):
        op.create_index(f"ix_deliveries_{column}", "deliveries", [column])
    op.create_table(
        "webhook_secrets",
        sa.Column("tenant", sa.String(63), nullable=False),
        sa.Column("secret", sa.String(96), nullable=False),
        sa.PrimaryKeyConstraint("tenant", name="pk_webhook_secrets"),
    )


def downgrade() -> None:
    """Drop them; what was not sent will not be."""
    op.drop_table("webhook_secrets")
    op.drop_table("deliveries")
