"""How many polls the service answers while a job trains, over a bare FastAPI endpoint.

``python -m bench.poll`` starts the service, has it fine-tune a small CNN, and lets ``--clients``
callers ask for that job, each again as soon as it has its answer, over a connection that it keeps.
By turns with it, in the same way, they ask an application of one ``async`` endpoint that answers
with a constant: ``bare.py`` beside this file, served by the same server with the same settings.

An error is any answer but a 200 with the job in it, and a connection that breaks. The last line is
what was seen; a ratio of rates is the median over the rounds, that of the 99th percentiles is over
all polls. The table also has the processor time of the server for each poll, which says the same on
a machine that has other work to do.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx2

from bench.service import Service
from espalier import Client, Job

_ROUNDS = 10
_START_SECONDS = 60
_LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)
#: Longer than the polls take, whatever the machine; the job is cancelled at the end.
_SPEC = {"training": {"epochs": 10_000}}
#: A line in a log for each poll is another measurement.
_QUIET = {"UVICORN_LOG_LEVEL": "warning"}


@dataclass
class _Seen:
    """What callers of one address saw."""

    rates: list[float] = field(default_factory=list[float])  #: Answers a second, a round each.
    seconds: list[float] = field(default_factory=list[float])  #: From asking to the answer.
    errors: int = 0
    processor_seconds: float = 0.0  #: Of the server.

    @property
    def rate(self) -> float:
        return statistics.median(self.rates)

    @property
    def p99(self) -> float:
        return statistics.quantiles(self.seconds, n=100)[-1]


@dataclass(frozen=True)
class _Question:
    """What is asked, and what the answer must hold."""

    pid: int  #: Of the server.
    port: int
    path: str
    answered: bytes

    @property
    def request(self) -> bytes:
        return f"GET {self.path} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\n\r\n".encode("ascii")


def main() -> None:
    """Poll, and print the table."""
    asked = _arguments()
    with (
        TemporaryDirectory(prefix="espalier-") as name,
        Service.running(Path(name), workers=1, settings=_QUIET) as service,
        _bare() as bare,
        Client(service.url) as client,
    ):
        job = _training(client, Path(name))
        ours = _Question(
            service.api.pid,
            int(service.url.rpartition(":")[2]),
            f"/v1/jobs/{job.id}",
            f'"id":"{job.id}"'.encode(),
        )
        seen = asyncio.run(_by_turns((ours, bare), asked.polls, clients=asked.clients))
        if job.refresh().stage != "fine_tuning":
            message = f"the job must train to the end. It is {job.state.status}"
            raise RuntimeError(message)
        job.cancel()
    _report(*seen)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--polls", type=int, default=100_000)
    parser.add_argument("--clients", type=int, default=100)
    return parser.parse_args()


def _training(client: Client, folder: Path) -> Job:
    """Return a job that has made its first steps."""
    subprocess.run(
        [sys.executable, "-m", "worker.demo_model", str(folder)],
        check=True,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    job = client.prune(folder / "digits.keras", folder / "digits.npz", _SPEC)
    for event in job.events():
        if event.kind == "progress" and event.data["step"] > 0:
            return job
    message = f"the job must train. It is {job.refresh().status}"
    raise RuntimeError(message)


@contextmanager
def _bare() -> Generator[_Question]:
    """Serve the bare endpoint; give what to ask it."""
    with socket.create_server(("127.0.0.1", 0), backlog=2048) as listener:
        port = listener.getsockname()[1]
        command = [sys.executable, "-m", "uvicorn", "bench.bare:app"]
        process = subprocess.Popen(
            [*command, "--fd", str(listener.fileno())],
            env={**os.environ, **_QUIET},
            pass_fds=[listener.fileno()],
        )
    try:
        _wait_for(f"http://127.0.0.1:{port}/")
        yield _Question(process.pid, port, "/", b'"status":"running"')
    finally:
        process.terminate()
        process.wait()


def _wait_for(url: str) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        with suppress(httpx2.TransportError):
            httpx2.get(url)
            return
    message = f"{url} must answer within {_START_SECONDS} seconds"
    raise TimeoutError(message)


async def _by_turns(questions: tuple[_Question, ...], polls: int, *, clients: int) -> list[_Seen]:
    seen = [_Seen() for _ in questions]
    for _ in range(_ROUNDS):
        for question, so_far in zip(questions, seen, strict=True):
            await _round(question, polls // _ROUNDS, clients, so_far)
    return seen


async def _round(question: _Question, polls: int, clients: int, seen: _Seen) -> None:
    left = iter(range(polls))
    began, spent = time.perf_counter(), _processor_seconds(question.pid)
    await asyncio.gather(*(_ask(question, left, seen) for _ in range(clients)))
    seen.rates.append(polls / (time.perf_counter() - began))
    seen.processor_seconds += _processor_seconds(question.pid) - spent


def _processor_seconds(pid: int) -> float:
    """Return what a process has taken since it began, its threads included."""
    # The name in parentheses can hold spaces; what follows it cannot.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def _ask(question: _Question, left: Iterator[int], seen: _Seen) -> None:
    """Be one caller: ask as long as there are polls left."""
    reader, writer = await asyncio.open_connection("127.0.0.1", question.port)
    for _ in left:
        began = time.perf_counter()
        try:
            writer.write(question.request)
            is_right = await _is_right(question, reader)
        except (OSError, asyncio.IncompleteReadError):
            writer.close()
            reader, writer = await asyncio.open_connection("127.0.0.1", question.port)
            is_right = False
        seen.seconds.append(time.perf_counter() - began)
        seen.errors += not is_right
    writer.close()


async def _is_right(question: _Question, reader: asyncio.StreamReader) -> bool:
    """Read an answer."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = _LENGTH.search(head)
    body = await reader.readexactly(int(length[1])) if length else b""
    return head.startswith(b"HTTP/1.1 200 ") and question.answered in body


def _report(ours: _Seen, bare: _Seen) -> None:
    print(f"{'':<16}{'a second':>12}{'p99, ms':>12}{'CPU, ms each':>14}{'errors':>8}")
    for name, seen in (("the job", ours), ("bare endpoint", bare)):
        each = 1000 * seen.processor_seconds / len(seen.seconds)
        print(f"{name:<16}{seen.rate:>12.0f}{1000 * seen.p99:>12.1f}{each:>14.3f}{seen.errors:>8}")
    by_round = [each / beside for each, beside in zip(ours.rates, bare.rates, strict=True)]
    print(
        json.dumps(
            {
                "polls": len(ours.seconds),
                "errors": ours.errors,
                "rate_over_bare": round(statistics.median(by_round), 3),
                "p99_over_bare": round(ours.p99 / bare.p99, 3),
            }
        )
    )


if __name__ == "__main__":
    main()
