"""What a hundred thousand finished jobs cost who asks for one of them, or for a page of the list.

``python -m bench.many_jobs`` runs PostgreSQL twice, from its wheel, and the API twice, each a
process: one database holds two pages of jobs, the other ``--finished`` and ``--queued`` besides,
all of one tenant, each with its model, events and files. The same requests go to both by turns.
PostgreSQL's plans are printed.

The last line has the median time of each request with many jobs, over that with two pages.
"""

from __future__ import annotations

import argparse
import json
import socket
import statistics
import sys
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx2
from sqlalchemy import Connection, Integer, Table, cast, func, insert, literal, select, text
from sqlalchemy.sql import ColumnElement

from app.jobs import tables
from app.jobs.artifacts import StoredArtifact
from app.jobs.database import create_engine, migrate, writing
from app.jobs.job import FileRef, Job
from app.jobs.result import JobResult, LayerSparsity, ParameterCounts, Uploaded
from app.jobs.spec import JobSpec
from app.jobs.store import Store
from app.jobs.tenants import LOCAL
from app.jobs.uploads import ModelSummary, StoredModel
from bench.parts import Part
from bench.servers import PostgreSQL

_PAGE = 20
_START_SECONDS = 120.0
_LOOK_SECONDS = 0.1
_EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


def main() -> int:
    """Fill, ask, and print what was seen."""
    asked = _arguments()
    with (
        TemporaryDirectory(prefix="espalier-") as name,
        _serving(Path(name) / "few", finished=0, queued=0) as few,
        _serving(Path(name) / "many", finished=asked.finished, queued=asked.queued) as many,
    ):
        _print_plans(many.database)
        ratios = _compared(few, many, rounds=asked.rounds)
    print(json.dumps({"finished": asked.finished, "queued": asked.queued, **ratios}))
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.many_jobs",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--finished", type=int, default=100_000)
    parser.add_argument("--queued", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=200, help="how often each thing is asked")
    return parser.parse_args()


@dataclass(frozen=True)
class _Service:
    """An API on a database."""

    database: str
    client: httpx2.Client
    job_id: str  #: A job in the middle of the list.

    @property
    def requests(self) -> Mapping[str, str]:
        """What is asked, by what it is called."""
        page = f"/v1/jobs?limit={_PAGE}"
        return {
            "job": f"/v1/jobs/{self.job_id}",
            "page": page,
            "page_of_queued": f"{page}&status=queued",
            "page_of_succeeded": f"{page}&status=succeeded",
            "page_of_failed": f"{page}&status=failed",
            "events": f"/v1/jobs/{self.job_id}/events",
        }


@contextmanager
def _serving(folder: Path, *, finished: int, queued: int) -> Generator[_Service]:
    folder.mkdir()
    with PostgreSQL.running(folder / "database.log", is_durable=False) as server:
        migrate(server.url)
        job_id = _fill(server.url, finished=finished, queued=queued)
        with _api(folder, server.url) as url, httpx2.Client(base_url=url, timeout=60) as client:
            yield _Service(server.url, client, job_id)


@contextmanager
def _api(folder: Path, database: str) -> Generator[str]:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        part = Part(
            "API",
            (sys.executable, "-m", "uvicorn", "app.main:app", "--fd", str(listener.fileno())),
            environment={"ESPALIER_DATA_DIR": str(folder), "ESPALIER_DATABASE_URL": database},
            log=folder / "api.log",
            keeps=[listener.fileno()],
        )
        try:
            _wait_for(url, folder)
            yield url
        finally:
            part.stop()


def _wait_for(url: str, folder: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        with suppress(httpx2.HTTPError):
            if httpx2.get(f"{url}/livez").is_success:
                return
        time.sleep(_LOOK_SECONDS)
    message = f"the API must answer within {_START_SECONDS:g} seconds; see {folder}"
    raise TimeoutError(message)


def _fill(url: str, *, finished: int, queued: int) -> str:
    """Make a page of jobs as the service does, and so many copies; return a finished one's id."""
    engine = create_engine(url)
    store = Store(engine)
    waiting = [_submit(store, number) for number in range(_PAGE)]
    done = [_finish(store, _submit(store, _PAGE + number)) for number in range(_PAGE)]
    with writing(engine) as connection:
        last = _copy(connection, done[0], first=0, count=finished)
        _copy(connection, waiting[0], first=finished, count=queued)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE"))
    engine.dispose()
    return last or done[_PAGE // 2]


def _submit(store: Store, number: int) -> str:
    ref = FileRef(id=f"mdl_{number}", filename="model.keras", bytes=10**7, sha256="a" * 64)
    model = StoredModel(
        ref=ref,
        key=f"models/{ref.id}/model.keras",
        created_at=_EPOCH,
        summary=_MODEL,
        uploaded_with=f"job_{number}",
    )
    mine = store.of(LOCAL)
    mine.add_model(model)
    created_at = _EPOCH + timedelta(days=365, seconds=number)
    job = Job(id=f"job_{number}", created_at=created_at, model=ref, spec=JobSpec())
    return mine.submit(job).job.id


def _finish(store: Store, job_id: str) -> str:
    claim = store.claim(job_id, worker="w", lease=timedelta(minutes=1))
    assert claim is not None, "nobody else is there"
    files = [
        StoredArtifact(
            name=name, key=f"jobs/{job_id}/1/{name}", format="keras", bytes=10**6, sha256="c" * 64
        )
        for name in ("model.keras", "model.tflite", "job.zip", "events.out")
    ]
    store.succeed(claim, _RESULT, files)
    return job_id


def _copy(connection: Connection, job_id: str, *, first: int, count: int) -> str | None:
    """Make copies of a job and all that belongs to it; return the id of one in their middle."""
    if count == 0:
        return None
    numbers = (
        func.generate_series(first, first + count - 1).table_valued("n").render_derived("numbers")
    )
    copy = cast(numbers.c.n, Integer)
    anew = {
        "id": literal("job_copy_") + func.to_hex(copy),
        "job_id": literal("job_copy_") + func.to_hex(copy),
        "created_at": literal(_EPOCH) + copy * text("interval '1 second'"),
        "model_id": literal("mdl_copy_") + func.to_hex(copy),
        "uploaded_with": literal("job_copy_") + func.to_hex(copy),
    }
    model_id = f"mdl_{job_id.removeprefix('job_')}"
    of_model = {**anew, "id": anew["model_id"]}
    for table, chosen, columns in (
        (tables.models, tables.models.c.id == model_id, of_model),
        (tables.jobs, tables.jobs.c.id == job_id, anew),
        *(
            (table, table.c.job_id == job_id, anew)
            for table in (tables.events, tables.history, tables.artifacts)
        ),
    ):
        _copy_rows(connection, table, chosen, columns, numbers)
    return f"job_copy_{first + count // 2:x}"


def _copy_rows(
    connection: Connection,
    table: Table,
    chosen: ColumnElement[bool],
    anew: Mapping[str, ColumnElement[Any]],
    numbers: Any,
) -> None:
    names = [column.name for column in table.columns]
    values = [anew.get(name, table.c[name]) for name in names]
    rows = select(*values).select_from(table.join(numbers, literal(value=True))).where(chosen)
    connection.execute(insert(table).from_select(names, rows, include_defaults=False))


def _compared(few: _Service, many: _Service, *, rounds: int) -> Mapping[str, float]:
    seconds: dict[str, dict[_Service, list[float]]] = {
        what: {few: [], many: []} for what in few.requests
    }
    for turn in range(rounds):
        for what, each in seconds.items():
            # By turns in the order too: who comes second finds the processor warm.
            for service in (few, many) if turn % 2 else (many, few):
                each[service].append(_timed(service, service.requests[what]))
    ratios: dict[str, float] = {}
    for what, each in seconds.items():
        medians = [1000 * statistics.median(each[service]) for service in (few, many)]
        ratios[what] = round(medians[1] / medians[0], 3)
        print(f"{what:20}{medians[0]:>9.2f} ms{medians[1]:>9.2f} ms{ratios[what]:>8.3f}")
    return ratios


def _timed(service: _Service, path: str) -> float:
    begin = time.perf_counter()
    service.client.get(path).raise_for_status()
    return time.perf_counter() - begin


def _print_plans(url: str) -> None:
    """Print how PostgreSQL finds a job, and pages of the list."""
    jobs = tables.jobs
    mine = jobs.c.tenant == LOCAL.tenant
    newest = (jobs.c.created_at.desc(), jobs.c.id.desc())
    page = select(jobs).where(mine).order_by(*newest).limit(_PAGE + 1)
    queries: Sequence[Any] = (
        select(jobs).where(mine, jobs.c.id == "job_copy_100"),
        page,
        page.where(jobs.c.status == "queued"),
        page.where(jobs.c.status == "succeeded"),
        page.where(jobs.c.status == "failed"),
    )
    engine = create_engine(url)
    with engine.connect() as connection:
        for query in queries:
            bound = query.compile(engine, compile_kwargs={"literal_binds": True})
            for line in connection.scalars(text(f"EXPLAIN (ANALYZE, COSTS OFF) {bound}")):
                print(line)
            print()
    engine.dispose()


_MODEL = ModelSummary(
    format="keras",
    keras_version="3.15.1",
    class_name="Sequential",
    inputs=(),
    outputs=("dense",),
    layers=(),
    weights=(),
    parameters=10,
    weight_bytes=40,
    optimizer_bytes=0,
    compiled_loss=None,
    output_units=1,
)
_RESULT = JobResult(
    baseline={"loss": 0.5, "accuracy": 0.9},
    pruned={"loss": 0.5, "accuracy": 0.9},
    evaluated_on=None,
    sparsity=0.8,
    uploaded=Uploaded(bytes=10**7, bytes_without_optimizer=4 * 10**6),
    parameters=ParameterCounts(total=10**6, prunable=10**6, nonzero=2 * 10**5),
    layers=tuple(
        LayerSparsity(
            name=f"block/dense_{number}",
            weight="kernel",
            shape=(128, 128),
            sparsity=0.8,
            pruned=True,
            reason=None,
        )
        for number in range(10)
    ),
    artifacts=(),
)

if __name__ == "__main__":
    sys.exit(main())
