import secrets
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import inspect, text
from sqlalchemy.exc import IntegrityError

from app.jobs import database, quotas
from app.jobs.columns import UtcDateTime
from app.jobs.database import (
    Revision,
    create_engine,
    database_time,
    migrate,
    open_revision,
    reading,
    writing,
)
from app.jobs.errors import BackendUnavailableError, JobNotFoundError, ModelNotFoundError
from app.jobs.job import JobStatus
from app.jobs.lanes import EVERY_LANE
from app.jobs.migrations.versions import (
    r0001_first_tables,
    r0002_tenants,
    r0003_workers,
    r0005_webhooks,
    r0006_retention,
    r0007_partial_uploads,
    r0008_compressed_forms,
    r0009_worked_seconds,
    r0010_turns_and_tallies,
    r0011_pages_by_status,
    r0012_no_order_without_a_tenant,
)
from app.jobs.result import ArtifactResult, Compressed
from app.jobs.store import Store
from app.jobs.submissions import Idempotency
from app.jobs.tables import metadata

#: What only SQLite has.
_of_sqlite = pytest.mark.parametrize("kind", ["sqlite"], indirect=True)
#: What only PostgreSQL has.
_of_postgresql = pytest.mark.parametrize("kind", ["postgresql"], indirect=True)


def test_the_migrations_make_the_tables_that_the_code_expects(engine):
    with engine.connect() as connection:
        context = MigrationContext.configure(connection)

        assert compare_metadata(context, metadata) == []


def test_migrating_again_changes_nothing(url, store, caller):
    job = caller.submit()

    migrate(url)

    assert store.job(job.id) == job


def test_the_folder_of_the_database_is_made(tmp_path):
    migrate(f"sqlite:///{tmp_path}/100%/new/espalier.sqlite")

    assert (tmp_path / "100%" / "new" / "espalier.sqlite").is_file()


@pytest.fixture
def new_database(server):
    """Return a function that makes a database without tables in PostgreSQL."""

    def make():
        name = f"db_{secrets.token_hex(4)}"
        with psycopg.connect(server.url, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return server.url.replace("/postgres?", f"/{name}?")

    return make


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_processes_that_start_at_once_migrate_once(kind, tmp_path, new_database):
    code = "import sys; from app.jobs.database import migrate; migrate(sys.argv[1])"
    url = f"sqlite:///{tmp_path}/new/espalier.sqlite" if kind == "sqlite" else new_database()
    command = [sys.executable, "-c", code, url]

    starters = [subprocess.Popen(command, stderr=subprocess.PIPE) for _ in range(2)]
    complaints = [starter.communicate()[1] for starter in starters]

    assert [starter.returncode for starter in starters] == [0, 0], complaints


def test_what_the_migrations_made_they_can_take_back(engine, caller):
    caller.submit()
    from alembic.operations import Operations

    with engine.connect() as connection, Operations.context(MigrationContext.configure(connection)):
        r0012_no_order_without_a_tenant.downgrade()
        r0011_pages_by_status.downgrade()
        r0010_turns_and_tallies.downgrade()
        r0009_worked_seconds.downgrade()
        r0008_compressed_forms.downgrade()
        r0007_partial_uploads.downgrade()
        r0006_retention.downgrade()
        r0005_webhooks.downgrade()
        r0003_workers.downgrade()
        r0002_tenants.downgrade()
        kept = connection.execute(text("SELECT count(*) FROM jobs")).scalar()
        r0001_first_tables.downgrade()

        assert (kept, inspect(connection).get_table_names()) == (1, ["alembic_version"])


class TestMigratingRows:
    @pytest.fixture
    def url(self, kind, new_url, request):
        """Return a database that is left behind with its columns in another order."""
        if kind == "sqlite":
            return new_url()
        url = request.getfixturevalue("new_database")()
        migrate(url)
        return url

    def test_what_was_there_before_tenants_were_is_the_local_ones(
        self, engine, store, mine, caller
    ):
        from alembic.operations import Operations

        once = Idempotency(key="k", fingerprint="f" * 64)
        job = mine.submit(caller.new_job(), idempotency=once).job

        with (
            engine.begin() as connection,
            Operations.context(MigrationContext.configure(connection)),
        ):
            r0011_pages_by_status.downgrade()
            r0010_turns_and_tallies.downgrade()
            r0002_tenants.downgrade()
            r0002_tenants.upgrade()
            r0010_turns_and_tallies.upgrade()
            r0011_pages_by_status.upgrade()

        assert mine.job(job.id) == store.job(job.id) == job
        assert mine.submit(caller.new_job(), idempotency=once).replayed
        with engine.connect() as connection:
            assert quotas.stored_bytes(connection, "local") == 200
            assert events_of(connection, job.id) == 1

    def test_jobs_that_wait_and_run_during_an_upgrade_are_served_after_it(
        self, engine, store, caller, lease, result
    ):
        from alembic.operations import Operations

        running, waiting = caller.claimed(), caller.submit()

        with (
            engine.begin() as connection,
            Operations.context(MigrationContext.configure(connection)),
        ):
            r0011_pages_by_status.downgrade()
            r0010_turns_and_tallies.downgrade()
            r0010_turns_and_tallies.upgrade()
            r0011_pages_by_status.upgrade()

        claim = store.claim_next(EVERY_LANE, worker="new", lease=lease)
        assert claim.job.id == waiting.id
        assert store.succeed(running, result, []).status is JobStatus.SUCCEEDED

    def test_compressed_forms_that_were_there_before_they_counted_count(
        self, engine, store, caller, result, artifact
    ):
        from alembic.operations import Operations

        claim = caller.claimed()
        forms = tuple(
            Compressed(encoding=encoding, bytes=size, sha256="d" * 64)
            for encoding, size in (("gzip", 30), ("zstd", 12))
        )
        measured = ArtifactResult(
            name="model.keras",
            format="keras",
            bytes=5_000_000_000,
            compressed_bytes=30,
            sha256="c" * 64,
            verified=True,
            max_abs_error=0.0,
            metrics={},
            latency_ms=1.0,
            compressed=forms,
        )
        store.succeed(
            claim, result.model_copy(update={"artifacts": (measured,)}), [artifact(claim)]
        )

        with (
            engine.begin() as connection,
            Operations.context(MigrationContext.configure(connection)),
        ):
            r0008_compressed_forms.downgrade()
            r0008_compressed_forms.upgrade()
            tenant = connection.execute(text("SELECT tenant FROM jobs")).scalar_one()

            uploads = claim.job.model.bytes
            assert quotas.stored_bytes(connection, tenant) == 5_000_000_000 + uploads + 42


def events_of(connection, job_id):
    query = text("SELECT count(*) FROM events WHERE job_id = :id")
    return connection.execute(query, {"id": job_id}).scalar()


@_of_sqlite
@pytest.mark.parametrize(
    ("pragma", "value"),
    [("journal_mode", "wal"), ("busy_timeout", 30_000), ("foreign_keys", 1), ("synchronous", 2)],
)
def test_every_connection_to_sqlite_is_set_up(engine, pragma, value):
    with engine.connect() as first, engine.connect() as second:
        for connection in (first, second):
            assert connection.exec_driver_sql(f"PRAGMA {pragma}").scalar() == value


def test_a_part_without_its_job_is_refused(engine):
    with (
        pytest.raises(IntegrityError, match=r"(?i)foreign key"),
        writing(engine) as connection,
    ):
        connection.exec_driver_sql("INSERT INTO artifacts VALUES ('job_none','n','k','f',1,'s',0)")


def test_what_raises_writes_nothing(engine, store, caller):
    model = caller.add_model()

    def delete_and_stumble():
        with writing(engine) as connection:
            connection.execute(text("DELETE FROM models"))
            raise KeyError

    with pytest.raises(KeyError):
        delete_and_stumble()

    assert store.model(model.ref.id) == model


def test_a_reader_sees_one_moment_and_never_waits(engine, caller):
    count = text("SELECT count(*) FROM models")
    with reading(engine) as connection:
        assert connection.scalar(count) == 0
        caller.add_model()

        assert connection.scalar(count) == 0


@_of_sqlite
def test_the_revision_is_another_one_after_each_commit_and_only_then(engine, caller):
    with closing(Revision(engine)) as revision:
        before = revision.number()
        with reading(engine) as connection:
            connection.execute(text("SELECT count(*) FROM models"))
        unchanged = revision.number()
        caller.add_model()

        assert unchanged == before
        assert revision.number() != before


@_of_sqlite
def test_the_revision_knows_what_another_process_commits(engine, url):
    code = (
        "import sys; from app.jobs.database import create_engine; from app.jobs.keys import Keys; "
    )
    code += "Keys(create_engine(sys.argv[1])).create('t')"
    with closing(Revision(engine)) as revision:
        before = revision.number()
        subprocess.run([sys.executable, "-c", code, url], check=True)

        assert revision.number() != before


def test_where_writing_cannot_be_seen_every_revision_is_another(engine):
    with closing(open_revision(engine)) as revision:
        assert revision.number() != revision.number() or engine.dialect.name == "sqlite"


@_of_sqlite
def test_without_its_file_there_is_no_revision(engine):
    revision = Revision(engine)
    revision.close()

    with pytest.raises(BackendUnavailableError):
        revision.number()


@_of_sqlite
def test_a_database_locked_for_too_long_is_unavailable(engine, url, monkeypatch):
    monkeypatch.setattr(database, "_BUSY_SECONDS", 0.05)
    impatient = create_engine(url)

    with (
        writing(engine),
        pytest.raises(BackendUnavailableError, match="database does not answer") as raised,
        writing(impatient),
    ):
        pass

    assert raised.value.__cause__ is not None
    impatient.dispose()


@_of_postgresql
def test_a_row_locked_for_too_long_is_unavailable(engine, url, caller, monkeypatch):
    caller.add_model()
    change = text("UPDATE models SET bytes = bytes + 1")
    monkeypatch.setitem(database._SESSION, "lock_timeout", "50ms")
    impatient = create_engine(url)

    def write_too():
        with writing(impatient) as second:
            second.execute(change)

    with writing(engine) as first:
        first.execute(change)
        with pytest.raises(BackendUnavailableError, match="database does not answer"):
            write_too()

    impatient.dispose()


@_of_postgresql
def test_who_is_cut_off_in_a_transaction_holds_its_rows_no_longer_than_a_moment(
    engine, url, caller, monkeypatch
):
    caller.add_model()
    change = text("UPDATE models SET bytes = bytes + 1")
    monkeypatch.setitem(database._SESSION, "idle_in_transaction_session_timeout", "50ms")
    cut_off = create_engine(url)

    def fall_silent():
        with writing(cut_off) as silent:
            silent.execute(change)
            with writing(engine) as other:
                other.execute(change)
            silent.execute(change)

    with pytest.raises(BackendUnavailableError):
        fall_silent()

    cut_off.dispose()


@_of_postgresql
def test_a_server_that_was_started_again_costs_nobody_a_request(store, server):
    assert store.is_reachable()

    server.kill_and_start()

    assert store.is_reachable()


def test_a_database_that_is_away_is_unavailable(tmp_path):
    engine = create_engine(f"postgresql://nobody@/nothing?host={tmp_path}")

    assert not Store(engine).is_reachable()
    with pytest.raises(BackendUnavailableError), reading(engine):
        pass


def test_what_no_row_can_be_called_is_not_found(store, mine):
    with pytest.raises(JobNotFoundError):
        store.job("job_\0")
    with pytest.raises(ModelNotFoundError):
        mine.model("mdl_\0")


def test_a_database_without_tables_is_not_reachable(tmp_path):
    engine = create_engine(f"sqlite:///{tmp_path}/new.sqlite")

    assert not Store(engine).is_reachable()
    engine.dispose()


def test_a_postgresql_without_tables_is_not_reachable(new_database):
    engine = create_engine(new_database())

    assert not Store(engine).is_reachable()
    engine.dispose()


def test_a_migrated_database_is_reachable(store):
    assert store.is_reachable()


def test_the_clock_of_the_database_is_in_utc(engine):
    with reading(engine) as connection:
        now = database_time(connection)

    assert abs(datetime.now(UTC) - now) < timedelta(minutes=1)
    assert now.tzinfo is UTC


def test_a_time_is_stored_in_utc_and_keeps_its_microseconds(store, caller):
    elsewhere = datetime.fromisoformat("2026-11-22T23:00:00.000001-05:00")

    job = caller.submit(created_at=elsewhere)

    assert store.job(job.id).created_at == elsewhere
    assert store.job(job.id).created_at.tzinfo is UTC


def test_a_time_without_a_zone_is_never_stored(engine):
    with pytest.raises(AssertionError, match="needs a zone"):
        UtcDateTime().process_bind_param(datetime(2026, 11, 22), engine.dialect)  # noqa: DTZ001


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("mysql://me:secret@localhost/db", r"mysql://me:\*\*\*@localhost/db"),
        ("postgresql+asyncpg://me@localhost/db", r"postgresql\+asyncpg://me@localhost/db"),
        ("sqlite://", "sqlite://"),
    ],
)
def test_what_is_neither_is_refused_and_no_password_shown(url, shown):
    with pytest.raises(ValueError, match=f"must begin with sqlite:/// .* Received: {shown}$"):
        create_engine(url)


def test_postgresql_without_its_driver_is_refused_and_the_extra_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)

    with pytest.raises(ValueError, match=r"comes with espalier\[postgresql\]"):
        create_engine("postgresql://me:secret@localhost/db")
