"""Compressed forms of artifacts count for what a tenant stores."""

import json
from collections.abc import Iterator

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"

_ARTIFACTS = sa.table(
    "artifacts", sa.column("job_id"), sa.column("name"), sa.column("compressed_bytes")
)
_JOBS = sa.table("jobs", sa.column("id"), sa.column("result"))


def upgrade() -> None:
    """Add the column; the results of jobs know the sizes."""
    op.add_column(
        "artifacts",
        sa.Column("compressed_bytes", sa.BigInteger, nullable=False, server_default="0"),
    )
    connection = op.get_bind()
    for job_id, name, size in _sizes(connection):
        of_file = (_ARTIFACTS.c.job_id == job_id, _ARTIFACTS.c.name == name)
        connection.execute(sa.update(_ARTIFACTS).where(*of_file).values(compressed_bytes=size))


def downgrade() -> None:
    """Drop it; only the files themselves count."""
    op.drop_column("artifacts", "compressed_bytes")


def _sizes(connection: sa.Connection) -> Iterator[tuple[str, str, int]]:
    """Yield the job, the name and the bytes of the compressed forms of every artifact."""
    with_result = sa.select(_JOBS.c.id, _JOBS.c.result).where(_JOBS.c.result.is_not(None))
    for job_id, result in connection.execute(with_result).all():
        for artifact in json.loads(result)["artifacts"]:
            forms = artifact.get("compressed", ())
            yield job_id, artifact["name"], sum(form["bytes"] for form in forms)
