"""Tenants: to whom everything belongs, their keys, how much they store, and what they did."""

import json

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_TIME = sa.DateTime(timezone=True)
_OWNED = ("models", "datasets", "jobs")
#: Everything that was there before tenants were.
_LOCAL = "local"


def upgrade() -> None:
    """Give every row a tenant, and add the tables of the door."""
    for table in _OWNED:
        _add_tenant(table)
    for table in ("models", "datasets"):
        _add_bytes(table)
        op.create_index(f"ix_{table}_tenant", table, ["tenant"])
    op.create_index("ix_jobs_tenant_created_at_id", "jobs", ["tenant", "created_at", "id"])
    _replace_idempotency_keys(("tenant", "key"))
    _create_api_keys()
    _create_audit()


def downgrade() -> None:
    """Take tenants away again; what belonged to several now belongs to all."""
    op.drop_table("audit")
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION refuse_change_of_audit")
    op.drop_table("api_keys")
    _replace_idempotency_keys(("key",))
    op.drop_index("ix_jobs_tenant_created_at_id", "jobs")
    for table in ("models", "datasets"):
        op.drop_index(f"ix_{table}_tenant", table)
        op.drop_column(table, "bytes")
    for table in _OWNED:
        op.drop_column(table, "tenant")


def _add_tenant(table: str) -> None:
    # The default is nobody's name: a row that were written without a tenant would be seen by none.
    op.add_column(table, sa.Column("tenant", sa.String(63), nullable=False, server_default=""))
    op.execute(sa.update(sa.table(table, sa.column("tenant"))).values(tenant=_LOCAL))


def _add_bytes(table: str) -> None:
    op.add_column(table, sa.Column("bytes", sa.BigInteger, nullable=False, server_default="0"))
    rows = sa.table(table, sa.column("id"), sa.column("ref"), sa.column("bytes"))
    connection = op.get_bind()
    for id_, ref in connection.execute(sa.select(rows.c.id, rows.c.ref)).all():
        size = json.loads(ref)["bytes"]
        connection.execute(sa.update(rows).where(rows.c.id == id_).values(bytes=size))


def _replace_idempotency_keys(primary_key: tuple[str, ...]) -> None:
    """Make the table anew, because SQLite cannot change a primary key; its rows are kept."""
    connection = op.get_bind()
    old = sa.table("idempotency_keys", *map(sa.column, ("key", "fingerprint", "job_id")))
    rows = [dict(row) for row in connection.execute(sa.select(old)).mappings()]
    op.drop_table("idempotency_keys")
    table = op.create_table(
        "idempotency_keys",
        *(sa.Column(name, _KEY_COLUMNS[name], nullable=False) for name in primary_key),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("job_id", sa.String(40), nullable=False),
        sa.PrimaryKeyConstraint(*primary_key, name="pk_idempotency_keys"),
        sa.ForeignKeyConstraint(
            ["job_id"], ["jobs.id"], name="fk_idempotency_keys_job_id", ondelete="CASCADE"
        ),
    )
    op.create_index("ix_idempotency_keys_job_id", "idempotency_keys", ["job_id"])
    tenant = {"tenant": _LOCAL} if "tenant" in primary_key else {}
    op.bulk_insert(table, [{**tenant, **row} for row in rows])


_KEY_COLUMNS = {"tenant": sa.String(63), "key": sa.String(255)}


def _create_api_keys() -> None:
    op.create_table(
        "api_keys",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("tenant", sa.String(63), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("revoked_at", _TIME),
        sa.PrimaryKeyConstraint("id", name="pk_api_keys"),
    )


def _create_audit() -> None:
    op.create_table(
        "audit",
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("at", _TIME, nullable=False),
        sa.Column("tenant", sa.String(63), nullable=False),
        sa.Column("key_id", sa.String(40)),
        sa.Column("action", sa.String(32), nullable=False),
        sa.Column("subject", sa.String(40), nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_audit"),
    )
    op.create_index("ix_audit_subject", "audit", ["subject"])
    if op.get_bind().dialect.name == "postgresql":
        _refuse_changes_in_postgresql()
    else:
        _refuse_changes_in_sqlite()


def _refuse_changes_in_sqlite() -> None:
    for change in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER audit_refuses_{change.lower()} BEFORE {change} ON audit "
            "BEGIN SELECT RAISE(ABORT, 'the audit is only ever added to'); END"
        )


def _refuse_changes_in_postgresql() -> None:
    op.execute(
        "CREATE FUNCTION refuse_change_of_audit() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE integrity_constraint_violation "
        "USING MESSAGE = 'the audit is only ever added to'; END $$"
    )
    op.execute(
        "CREATE TRIGGER audit_refuses_changes BEFORE UPDATE OR DELETE OR TRUNCATE ON audit "
        "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change_of_audit()"
    )
