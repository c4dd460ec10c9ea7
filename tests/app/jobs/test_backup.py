"""What ``docs/operations.md`` says about backups, done while the service writes, and restored."""

import hashlib
import shutil
import sqlite3
import subprocess

import obstore
import psycopg
import pytest
from sqlalchemy.exc import IntegrityError

from app.jobs.artifacts import ArtifactStore
from app.jobs.database import create_engine, migrate, writing
from app.jobs.errors import ArtifactNotFoundError
from app.jobs.store import Store
from app.jobs.tenants import LOCAL

CONTENT = b"0123456789" * 1000


@pytest.fixture
def files(kind, tmp_path, request):
    if kind == "sqlite":
        return ArtifactStore((tmp_path / "files").as_uri())
    bucket = request.getfixturevalue("bucket_url")
    return ArtifactStore(f"{bucket}/{tmp_path.name}", growing_in=tmp_path / "growing")


@pytest.fixture
def publish(store, files, result, artifact, tmp_path):
    """Return a function that ends a claimed job with a file."""

    def publish(claim):
        path = tmp_path / "model.keras"
        path.write_bytes(CONTENT)
        made = artifact(claim).model_copy(
            update={"bytes": len(CONTENT), "sha256": hashlib.sha256(CONTENT).hexdigest()}
        )
        files.put(made.key, path)
        return store.succeed(claim, result, [made])

    return publish


@pytest.fixture
def back_up_rows(kind, url, tmp_path, request):
    """Return a function that backs the database up; it returns one that restores it elsewhere."""

    def sqlite():
        file, copy = url.removeprefix("sqlite:///"), tmp_path / "backup.sqlite"
        with sqlite3.connect(file) as database:
            database.execute(f"VACUUM INTO '{copy}'")
        database.close()
        return lambda: f"sqlite:///{copy}"

    def postgresql():
        server, dump = request.getfixturevalue("server"), tmp_path / "backup.dump"
        command = server.command("pg_dump", "--format=custom", f"--file={dump}", server.url)
        subprocess.run(command, check=True)

        def restore():
            with psycopg.connect(server.url, autocommit=True) as connection:
                connection.execute("CREATE DATABASE restored")
            target = server.url.replace("/postgres?", "/restored?")
            restored = server.command("pg_restore", f"--dbname={target}", "--no-owner", str(dump))
            subprocess.run(restored, check=True)
            return target

        return restore

    return {"sqlite": sqlite, "postgresql": postgresql}[kind]


@pytest.fixture
def back_up_files(kind, files, tmp_path, request):
    """Return a function that copies the files; it returns the store of the copy."""

    def folder():
        shutil.copytree(tmp_path / "files", tmp_path / "copy")
        return ArtifactStore((tmp_path / "copy").as_uri())

    def bucket():
        url = f"{request.getfixturevalue('bucket_url')}/{tmp_path.name}-copy"
        copy = ArtifactStore(url, growing_in=tmp_path / "growing")
        for chunk in files._store.list():
            for meta in chunk:
                content = obstore.get(files._store, meta["path"]).bytes()
                obstore.put(copy._store, meta["path"], bytes(content))
        return copy

    return {"sqlite": folder, "postgresql": bucket}[kind]


def test_what_was_backed_up_is_there_again_and_no_more(
    store, mine, caller, publish, lease, back_up_rows, back_up_files
):
    published = publish(caller.claimed())
    waiting = caller.submit()
    restore = back_up_rows()
    # Between the two, the service goes on.
    later = publish(store.claim(waiting.id, worker="w", lease=lease))
    files = back_up_files()

    url = restore()
    migrate(url)
    engine = create_engine(url)
    restored = Store(engine)
    theirs = restored.of(LOCAL)

    assert restored.job(published.id) == mine.job(published.id)
    assert theirs.events(published.id) == mine.events(published.id)
    for kept in theirs.artifacts(published.id):
        assert b"".join(files.stream(kept.key, sha256=kept.sha256)) == CONTENT
    # What ended in between is done again; its former file is left alone until then.
    assert restored.claim(later.id, worker="w", lease=lease) is not None
    nameless = [kept.key for kept in mine.artifacts(later.id)]
    assert restored.without_row(["jobs/job_gone/1/model.keras", *nameless]) == [
        "jobs/job_gone/1/model.keras"
    ]
    with pytest.raises(ArtifactNotFoundError):
        theirs.artifact(later.id, "model.keras")
    _require_audit(engine)
    engine.dispose()


def _require_audit(engine):
    with pytest.raises(IntegrityError, match="only ever added to"), writing(engine) as connection:
        connection.exec_driver_sql("DELETE FROM audit")
