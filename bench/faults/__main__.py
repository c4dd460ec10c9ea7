"""Strike the service while callers use it, and print what became of their jobs."""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from bench import faults
from bench.faults.callers import Caller, Kind
from bench.faults.checker import Complaint, Fault, complaints
from bench.faults.history import Accepted, History, Seen
from bench.faults.strikes import SERVER_STRIKES, STRIKES, in_turn
from bench.servers import Servers
from bench.service import Service

_WORKERS = 2
#: Short, so that what a fault costs is soon over; attempts without end, because here one job can
#: be struck more often in a minute than elsewhere in a year.
_SETTINGS = {
    "ESPALIER_LEASE_SECONDS": "5",
    "ESPALIER_REAP_SECONDS": "1",
    "ESPALIER_CHECKPOINT_SECONDS": "0.5",
    "ESPALIER_SILENCE_SECONDS": "300",
    "ESPALIER_MAX_ATTEMPTS": "1000",
}
#: Jobs that wait or run at any time, where so many are asked for.
_AT_ONCE = 4
_FINAL = {"succeeded", "failed", "cancelled"}
#: A service that ends no job for so long, with nothing striking it any more, will end none.
_PATIENCE_SECONDS = 600.0
_LOOK_SECONDS = 0.5
_SHARE_PAUSED, _SHARE_CANCELLED = 0.15, 0.05


def main() -> int:
    """Run, print the table, and return the exit status: 0 where nothing is wrong."""
    asked = _arguments()
    history = History()
    began_at = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="faults-"))
    kinds = _make_kinds(folder)
    with (
        Servers.running(folder) if asked.servers else nullcontext() as servers,
        Service.running(folder, workers=_WORKERS, settings=_SETTINGS, servers=servers) as service,
    ):
        caller = Caller(service.url, history)
        expected = _undisturbed(caller, history, kinds)
        print(f"{len(expected)} kinds undisturbed after {time.monotonic() - began_at:.0f} s")
        run = _Run(service, caller, kinds, asked.jobs, Random(asked.seed))  # noqa: S311
        struck = run.through(asked.faults)
        for job_id in run.submitted:
            caller.look(job_id)
            caller.read_events(job_id)
        caller.list_jobs()
        caller.close()
    found = complaints(history.entries, expected)
    if found:
        print(f"logs and database are kept in {folder}")
    else:
        shutil.rmtree(folder)
    _print(struck, history, found, caller.server_errors, time.monotonic() - began_at)
    return 1 if found else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.faults",
        description=faults.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--faults", type=int, default=500, help="how many strikes")
    parser.add_argument("--jobs", type=int, default=200, help="how many jobs at least")
    parser.add_argument(
        "--servers",
        action="store_true",
        help="PostgreSQL and an S3 store instead of SQLite and a folder",
    )
    parser.add_argument("--seed", type=int, default=0, help="of what is struck, and when")
    return parser.parse_args()


def _make_kinds(folder: Path) -> Sequence[Kind]:
    # Keras in a process of its own: this one shares the machine with the service.
    subprocess.run([sys.executable, "-m", "bench.faults.files", str(folder)], check=True)
    schedule = {"kind": "polynomial_decay", "final_sparsity": 0.8, "frequency": 50}
    model, data = folder / "model.keras", folder / "samples.npz"
    adam = {"schedule": schedule, "training": {"epochs": 60, "batch_size": 4}}
    momentum = {"kind": "sgd", "learning_rate": 0.01, "momentum": 0.9}
    sgd = {**adam, "training": {**adam["training"], "optimizer": momentum, "seed": 1}}
    return (
        Kind(name="adam", files={"model": model, "data": data}, spec=json.dumps(adam)),
        Kind(name="momentum", files={"model": model, "data": data}, spec=json.dumps(sgd)),
        Kind(name="without data", files={"model": model}, spec="{}"),
    )


def _undisturbed(caller: Caller, history: History, kinds: Sequence[Kind]) -> dict[str, str]:
    """Run a job of each kind with nothing amiss; return the SHA-256 of what came out."""
    job_ids = {kind.name: caller.submit(kind, f"undisturbed {kind.name}") for kind in kinds}
    while not all([caller.look(job_id) in _FINAL for job_id in job_ids.values()]):  # noqa: C419
        time.sleep(_LOOK_SECONDS)
    told = {each.job_id: each.told_sha256 for each in history.entries if isinstance(each, Seen)}
    expected = {name: told[job_id] for name, job_id in job_ids.items()}
    return {name: sha256 for name, sha256 in expected.items() if sha256 is not None}


@dataclass
class _Run:
    """Callers on one side, strikes on the other."""

    service: Service
    caller: Caller
    kinds: Sequence[Kind]
    jobs: int
    random: Random
    submitted: list[str] = field(default_factory=list[str])

    def through(self, count: int) -> Counter[str]:
        """Strike ``count`` times while jobs are submitted; wait for all of them to end."""
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="strikes") as pool:
            return self._followed(pool.submit(self._strike, count))

    def _followed(self, striking: Future[Counter[str]]) -> Counter[str]:
        unfinished: list[str] = []
        ended_at = time.monotonic()
        while not striking.done() or len(self.submitted) < self.jobs or unfinished:
            if striking.done():
                striking.result()  # A strike that failed ends the run.
            has_room = len(unfinished) < min(_AT_ONCE, self.jobs)
            if has_room and not (striking.done() and self._has_enough):
                unfinished.append(self._submit())
            still = [job_id for job_id in unfinished if self.caller.look(job_id) not in _FINAL]
            if len(still) < len(unfinished) or not striking.done():
                ended_at = time.monotonic()
            if time.monotonic() - ended_at > _PATIENCE_SECONDS:
                break
            unfinished = still
            time.sleep(_LOOK_SECONDS)
        return striking.result()

    @property
    def _has_enough(self) -> bool:
        return len(self.submitted) >= self.jobs

    def _submit(self) -> str:
        number = len(self.submitted)
        job_id = self.caller.submit(self.kinds[number % len(self.kinds)], f"job {number}")
        self.submitted.append(job_id)
        chance = self.random.random()
        if chance < _SHARE_CANCELLED:
            self._later(job_id, "cancel")
        elif chance < _SHARE_CANCELLED + _SHARE_PAUSED:
            self._later(job_id, "pause", "resume")
        return job_id

    def _later(self, job_id: str, *calls: str) -> None:
        waits = [self.random.uniform(0, 20) for _ in calls]

        def ask() -> None:
            for wait, call in zip(waits, calls, strict=True):
                time.sleep(wait)
                self.caller.ask(job_id, call)

        threading.Thread(target=ask, name=f"{calls[0]} {job_id}", daemon=True).start()

    def _strike(self, count: int) -> Counter[str]:
        struck: Counter[str] = Counter()
        # Not the other thread's numbers: which strikes there are is not to depend on the jobs.
        random = Random(self.random.random())  # noqa: S311
        strikes = STRIKES if self.service.servers is None else SERVER_STRIKES
        for name, _ in zip(in_turn(strikes, random), range(count), strict=False):
            strikes[name](self.service, random)
            struck[name] += 1
            time.sleep(random.uniform(0, 3))
        return struck


def _print(
    struck: Counter[str],
    history: History,
    found: Sequence[Complaint],
    server_errors: int,
    seconds: float,
) -> None:
    for name, count in sorted(struck.items()):
        print(f"{name:20}{count:>6}")
    jobs = {entry.job_id for entry in history.entries if isinstance(entry, Accepted)}
    ends = {
        entry.job_id: entry.status
        for entry in history.entries
        if isinstance(entry, Seen) and entry.status in _FINAL
    }
    for status, count in sorted(Counter(ends.values()).items()):
        print(f"{status:20}{count:>6}")
    print(f"{'answers 500':20}{server_errors:>6}")
    print(f"{'seconds':20}{seconds:>6.0f}")
    for complaint in found:
        print(f"{complaint.fault.value}: {complaint.job_id}: {complaint.evidence}")
    counts = Counter(complaint.fault for complaint in found)
    figures = {fault.value: counts[fault] for fault in Fault}
    print(json.dumps({"faults": struck.total(), "jobs": len(jobs), **figures}))


if __name__ == "__main__":
    sys.exit(main())
