"""Whose turn it is, how long each step takes, and counts that outlive the jobs."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"

_JOBS = sa.table("jobs", sa.column("since"), sa.column("created_at"), sa.column("started_at"))
_WAITING = ["status", "lane", "tenant", "rank", "created_at", "id"]


def upgrade() -> None:
    """Add columns and tables."""
    op.add_column("jobs", sa.Column("lane", sa.String(32), nullable=False, server_default="small"))
    op.add_column("jobs", sa.Column("rank", sa.Integer, nullable=False, server_default="0"))
    op.add_column("jobs", sa.Column("since", sa.DateTime(timezone=True)))
    op.add_column("jobs", sa.Column("traceparent", sa.String(55)))
    began = sa.func.coalesce(_JOBS.c.started_at, _JOBS.c.created_at)
    op.execute(sa.update(_JOBS).values(since=began))
    op.create_index("ix_jobs_status_lane_tenant_rank_created_at_id", "jobs", _WAITING)
    op.drop_index("ix_jobs_status", "jobs")
    op.create_table(
        "turns",
        sa.Column("tenant", sa.String(63), nullable=False),
        sa.Column("turn", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("tenant", name="pk_turns"),
    )
    op.create_table(
        "tallies",
        sa.Column("tally", sa.String(32), nullable=False),
        sa.Column("label", sa.String(32), nullable=False),
        sa.Column("bucket", sa.Integer, nullable=False),
        sa.Column("count", sa.BigInteger, nullable=False),
        sa.Column("total", sa.Float, nullable=False),
        sa.PrimaryKeyConstraint("tally", "label", "bucket", name="pk_tallies"),
    )
    op.add_column("workers", sa.Column("devices", sa.Text, nullable=False, server_default="[]"))


def downgrade() -> None:
    """Drop them; every job waits in one queue again."""
    op.drop_column("workers", "devices")
    op.drop_table("tallies")
    op.drop_table("turns")
    op.create_index("ix_jobs_status", "jobs", ["status"])
    op.drop_index("ix_jobs_status_lane_tenant_rank_created_at_id", "jobs")
    for column in ("traceparent", "since", "rank", "lane"):
        op.drop_column("jobs", column)
