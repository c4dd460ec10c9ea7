"""What the door holds against: one order sent many times at once, uploads cut off, silent senders.

``python -m bench.door`` starts the API as a process of its own, without a broker, and lets these
callers at it:

- ``--cut`` uploads, as many at once as ``--at-once``, each dropped in the middle: no file is left;
- ``--slow`` senders at once that stop in the middle of a form: each is cut off with a 408; and as
  many that send a byte a second, all the while, until they go away;
- ``--posts`` times the same order with one ``Idempotency-Key``, all at once: one job.

The resident memory of the API is read all the while. The last line is what was seen; a growth is
the highest value over the one before the first of these callers.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx2

_MODEL = Path(__file__).parents[1] / "tests" / "data" / "small.keras"
_SILENCE_SECONDS = 5
_START_SECONDS = 60
_CUT_AFTER_BYTES = 4 * 2**20
_HEAD = (
    "POST /v1/models HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100000000\r\n"
    "Content-Type: multipart/form-data; boundary=b\r\n\r\n"
    '--b\r\nContent-Disposition: form-data; name="model"; filename="m"\r\n\r\n'
).encode("ascii")


@dataclass(frozen=True)
class _Api:
    """A running API."""

    port: int
    pid: int
    folder: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def resident_bytes(self) -> int:
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def arriving(self) -> int:
        """Count the files that are being received, or were left behind."""
        return sum(path.is_file() for path in (self.folder / "incoming").rglob("*"))


def main() -> None:
    """Let them in, and print what was seen."""
    asked = _arguments()
    with TemporaryDirectory(prefix="espalier-") as name, _running_api(Path(name)) as api:
        seen = asyncio.run(_visit(api, asked))
        seen["left_behind"] = _left_behind(api)
    for what, value in seen.items():
        print(f"{what:20}{value:>12}")
    print(json.dumps(seen))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--posts", type=int, default=1000)
    parser.add_argument("--cut", type=int, default=100)
    parser.add_argument("--slow", type=int, default=50)
    parser.add_argument("--at-once", type=int, default=20)
    return parser.parse_args()


@contextmanager
def _running_api(folder: Path) -> Generator[_Api]:
    with socket.create_server(("127.0.0.1", 0), backlog=2048) as listener:
        port = listener.getsockname()[1]
        command = [sys.executable, "-m", "uvicorn", "app.main:app", "--log-level", "warning"]
        environment = {
            **os.environ,
            "ESPALIER_DATA_DIR": str(folder),
            "ESPALIER_SENDER_SILENCE_SECONDS": str(_SILENCE_SECONDS),
        }
        process = subprocess.Popen(
            [*command, "--fd", str(listener.fileno())],
            env=environment,
            pass_fds=[listener.fileno()],
        )
    try:
        _wait_for(f"http://127.0.0.1:{port}/livez")
        yield _Api(port, process.pid, folder)
    finally:
        process.terminate()
        process.wait()


def _wait_for(url: str) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        with suppress(httpx2.TransportError):
            httpx2.get(url)
            return
    message = f"the API must answer within {_START_SECONDS} seconds"
    raise TimeoutError(message)


async def _visit(api: _Api, asked: argparse.Namespace) -> dict[str, object]:
    unbounded = httpx2.Limits(max_connections=None)
    async with httpx2.AsyncClient(base_url=api.url, timeout=600, limits=unbounded) as client:
        order = await _upload(client)
        async with _watched(api) as growth_of_uploads, _trickling(api, asked.slow):
            await _at_most(asked.at_once, asked.cut, lambda: _send_and_drop(api))
            answers = await asyncio.gather(*(_send_and_wait(api) for _ in range(asked.slow)))
        async with _watched(api) as growth_of_posts:
            ids, statuses = await _post_at_once(client, order, asked.posts)
        alive = (await client.get("/livez")).status_code
    return {
        "posts": asked.posts,
        "answered_202": statuses[202],
        "jobs": len(ids),
        "cut": asked.cut,
        "slow": asked.slow,
        "slow_cut_off": answers.count(408),
        "alive": alive,
        "uploads_growth_mb": round(growth_of_uploads() / 2**20, 1),
        "posts_growth_mb": round(growth_of_posts() / 2**20, 1),
    }


async def _upload(client: httpx2.AsyncClient) -> dict[str, str]:
    answer = await client.post("/v1/models", files={"model": ("m.keras", _MODEL.read_bytes())})
    return {"model_id": answer.raise_for_status().json()["id"]}


async def _post_at_once(
    client: httpx2.AsyncClient, order: dict[str, str], count: int
) -> tuple[set[str], Counter[int]]:
    posts = (
        client.post("/v1/jobs", json=order, headers={"Idempotency-Key": "one"})
        for _ in range(count)
    )
    answers = await asyncio.gather(*posts)
    return {answer.json().get("id") for answer in answers}, Counter(
        answer.status_code for answer in answers
    )


async def _send_and_drop(api: _Api) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", api.port)
    writer.write(_HEAD + bytes(_CUT_AFTER_BYTES))
    await writer.drain()
    writer.transport.abort()


async def _send_and_wait(api: _Api) -> int:
    """Send the beginning of a form, then nothing; return the status of the answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
    writer.write(_HEAD + bytes(2**16))
    answer = await reader.read()
    writer.close()
    return int(answer.split(b" ", 2)[1])


@asynccontextmanager
async def _trickling(api: _Api, count: int) -> AsyncGenerator[None]:
    """Have ``count`` senders send a byte a second within the block, and go away at its end."""
    senders = [asyncio.create_task(_trickle(api)) for _ in range(count)]
    yield
    for sender in senders:
        sender.cancel()
    await asyncio.gather(*senders, return_exceptions=True)


async def _trickle(api: _Api) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", api.port)
    try:
        writer.write(_HEAD + bytes(2**16))
        while True:
            writer.write(b"0")
            await asyncio.sleep(1)
    finally:
        writer.transport.abort()


def _left_behind(api: _Api) -> int:
    """Count what is left of uploads, once the API has had a moment to see who went away."""
    deadline = time.monotonic() + _SILENCE_SECONDS
    while api.arriving() and time.monotonic() < deadline:
        time.sleep(0.1)
    return api.arriving()


async def _at_most(at_once: int, count: int, visit: Callable[[], Awaitable[None]]) -> None:
    room = asyncio.Semaphore(at_once)

    async def one() -> None:
        async with room:
            await visit()

    await asyncio.gather(*(one() for _ in range(count)))


@asynccontextmanager
async def _watched(api: _Api) -> AsyncGenerator[Callable[[], int]]:
    """Yield a function that says by how much the API's memory grew within the block, at most."""
    before = highest = api.resident_bytes()

    async def watch() -> None:
        nonlocal highest
        while True:
            highest = max(highest, api.resident_bytes())
            await asyncio.sleep(0.05)

    watching = asyncio.create_task(watch())
    try:
        yield lambda: highest - before
    finally:
        watching.cancel()


if __name__ == "__main__":
    main()
