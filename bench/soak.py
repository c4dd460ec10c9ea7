"""Many small jobs, one after the other: the worker does not grow and leaves nothing behind.

``python -m bench.soak --jobs 1000`` runs the service as an operator would, each part a process,
with one worker. Every other job is trained, the rest are pruned at once. At rest, before the first
job and after the last, temporary files are counted; the worker's resident memory is read after each
job.

The last line has the growth of that memory over what it was when a few jobs had been done,
processes that ended and that nobody asked about (``zombies``), and folders and files that are more
than before (``left_behind``).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx2

from bench.hostile.case import SPEC
from bench.hostile.originals import originals
from bench.service import Service

_AT_ONCE = 2
#: What libraries load when they are first used is there after so many jobs.
_WARM_UP_JOBS = 10
_MOST_GROWTH_BYTES = 20 * 2**20
_LOOK_SECONDS = 0.2
#: When nothing has come or gone for so long, the service is at rest; longer than it takes until the
#: API has checks ready again.
_REST_SECONDS = 15.0
_FINAL = {"succeeded", "failed", "cancelled"}


def main() -> int:
    """Run, print what was seen, and return the exit status: 0 where all is well."""
    jobs = _arguments().jobs
    folder = Path(tempfile.mkdtemp(prefix="soak-"))
    data, temporary = folder / "data", folder / "temporary"
    for each in (data, temporary):
        each.mkdir()
    began_at = time.monotonic()
    with Service.running(data, workers=1, settings={"TMPDIR": str(temporary)}) as service:
        before = _at_rest(service, temporary)
        memory: list[int] = []
        statuses: Counter[str] = Counter()
        for status in _carried_out(service.url, jobs):
            statuses[status] += 1
            memory.append(_resident_bytes(service.workers[0].pid))
        after = _at_rest(service, temporary)
        zombies = list(_zombies(service))
    seen = {
        "jobs": jobs,
        "succeeded": statuses["succeeded"],
        "growth_mb": round(_growth(memory) / 2**20, 1),
        "zombies": len(zombies),
        "left_behind": max(0, len(after) - len(before)),
        "seconds": round(time.monotonic() - began_at),
    }
    is_well = (
        statuses["succeeded"] == jobs
        and _growth(memory) <= _MOST_GROWTH_BYTES
        and not zombies
        and len(after) <= len(before)
    )
    _show(memory, [] if is_well else after, folder)
    if is_well:
        shutil.rmtree(folder)
    print(json.dumps(seen))
    return 0 if is_well else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.soak",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--jobs", type=int, default=1000)
    return parser.parse_args()


def _carried_out(url: str, count: int) -> Iterator[str]:
    """Submit jobs, a few ahead; yield how each ended, in the order in which they were submitted."""
    valid = originals()
    waiting: list[str] = []
    with httpx2.Client(base_url=url, timeout=60) as client:
        ids = {
            "model_id": _uploaded(client, "models", "model", valid.keras),
            "dataset_id": _uploaded(client, "datasets", "data", valid.npz),
        }
        for number in range(count):
            order = (
                {**ids, "spec": json.loads(SPEC)} if number % 2 else {"model_id": ids["model_id"]}
            )
            answer = client.post("/v1/jobs", json=order).raise_for_status()
            waiting.append(answer.json()["id"])
            if len(waiting) == _AT_ONCE:
                yield _ended(client, waiting.pop(0))
        for job_id in waiting:
            yield _ended(client, job_id)


def _uploaded(client: httpx2.Client, path: str, part: str, content: bytes) -> str:
    answer = client.post(f"/v1/{path}", files={part: (part, content)})
    return answer.raise_for_status().json()["id"]


def _ended(client: httpx2.Client, job_id: str) -> str:
    while True:
        status = client.get(f"/v1/jobs/{job_id}").raise_for_status().json()["status"]
        if status in _FINAL:
            return status
        time.sleep(_LOOK_SECONDS)


def _at_rest(service: Service, temporary: Path) -> list[str]:
    """Return the files and folders that are there between jobs, once the spare has been started."""
    found, since = _left(service, temporary), time.monotonic()
    while not service.runners() or time.monotonic() - since < _REST_SECONDS:
        time.sleep(_LOOK_SECONDS)
        now = _left(service, temporary)
        if now != found:
            found, since = now, time.monotonic()
    return found


def _left(service: Service, temporary: Path) -> list[str]:
    # What a spare has in its own folder is its own business.
    folders = (service.folder / "work", service.folder / "incoming", temporary)
    found = (path for folder in folders for path in (*folder.glob("*"), *folder.glob("*/*")))
    return sorted(str(path) for path in found)


def _resident_bytes(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _growth(memory: list[int]) -> int:
    """Return by how much the worker grew after its first jobs, at most."""
    settled = memory[min(_WARM_UP_JOBS, len(memory)) - 1 :]
    return max(settled) - settled[0]


def _zombies(service: Service) -> Iterator[int]:
    ours = {part.pid for part in service.parts}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = path.read_text().rpartition(")")[2].split()[:2]
        except OSError:
            continue
        if state == "Z" and int(parent) in ours:
            yield int(path.parent.name)


def _show(memory: list[int], left: list[str], folder: Path) -> None:
    for number in range(0, len(memory), max(1, len(memory) // 10)):
        print(f"after job {number + 1:5}: the worker holds {memory[number] / 2**20:6.1f} MB")
    if left:
        print(*left, f"logs and database are kept in {folder}", sep="\n")


if __name__ == "__main__":
    sys.exit(main())
