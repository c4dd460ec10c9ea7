"""A large model by the resumable route, over a connection that is cut again and again.

``python -m bench.resumable --bytes 2147483648 --cuts 20`` writes a ``.keras`` file of about that
size with random weights, starts the API as a process of its own, and has the Python client send the
file through a relay that drops the connection at that many places. The resident memory of the API
is read all the while.

The last line is what was seen: whether the service's hash is that of the file, by how many MB the
API's memory grew at most over what it was before, and the bytes that were sent over those of the
file.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import random
import socket
import threading
import time
import zipfile
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

import h5py
import numpy as np

from bench.service import Service
from espalier import uploads
from espalier.connection import Connection
from espalier.records import FileRef

_SMALL = Path(__file__).parents[1] / "tests" / "data" / "small.keras"
#: Of the layer that all the bytes are in.
_UNITS = 4096
_ROWS_AT_ONCE = 1024
_BYTES_EACH = 4
_BLOCK_BYTES = 2**16
_LOOK_SECONDS = 0.02
_PATIENCE_SECONDS = 60.0


def main() -> None:
    """Send it, and print what was seen."""
    asked = _arguments()
    with TemporaryDirectory(prefix="espalier-") as name:
        folder = Path(name)
        path = folder / "large.keras"
        _write_model(path, asked.bytes)
        settings = {"ESPALIER_CHECK_TIMEOUT_SECONDS": "600"}
        with Service.running(folder, workers=0, settings=settings) as service:
            seen = _sent(service, path, asked.cuts)
    print(json.dumps(seen))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--bytes", type=int, default=2**31)
    parser.add_argument("--cuts", type=int, default=20)
    return parser.parse_args()


def _sent(service: Service, path: Path, cuts: int) -> dict[str, Any]:
    size = path.stat().st_size
    chance = random.Random(0)  # noqa: S311 - where a connection breaks is no secret
    places = sorted(chance.randrange(size) for _ in range(cuts))
    began = time.monotonic()
    with (
        _Relay(service.url, places) as relay,
        _watched(service.api.pid) as growth,
        ExitStack() as kept,
    ):
        connection = Connection(relay.url, api_key=None, patience_seconds=_PATIENCE_SECONDS)
        ids = uploads.sent(connection, {"model": path}, None, undo=kept)
        stored = connection.get(f"/v1/models/{ids['model_id']}", FileRef)
        seconds = time.monotonic() - began
        connection.close()
        kept.pop_all()
    return {
        "bytes": size,
        "cuts": relay.cuts,
        "hash_is_right": stored.sha256 == _sha256(path),
        "api_growth_mb": round(growth() / 2**20, 1),
        "sent_over_bytes": round(relay.passed / size, 3),
        "seconds": round(seconds, 1),
    }


class _Relay:
    """Passes bytes between a port of its own and the service, and drops connections on the way.

    Args:
        service: Its URL.
        places: After how many bytes of requests, in all, a connection is dropped; ascending.
    """

    def __init__(self, service: str, places: Sequence[int]) -> None:
        self._service = ("127.0.0.1", int(service.rpartition(":")[2]))
        self._places = list(places)
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.passed = 0  #: Bytes of requests so far.
        self.cuts = 0

    def __enter__(self) -> Self:
        threading.Thread(target=self._listen, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        _end(self._listener)

    def _listen(self) -> None:
        with suppress(OSError):
            while True:
                caller, _ = self._listener.accept()
                service = socket.create_connection(self._service)
                for passes, ends in (
                    (self._pass_requests, (caller, service)),
                    (_pass_answers, (service, caller)),
                ):
                    threading.Thread(target=passes, args=ends, daemon=True).start()

    def _pass_requests(self, caller: socket.socket, service: socket.socket) -> None:
        with suppress(OSError):
            while block := caller.recv(_BLOCK_BYTES):
                service.sendall(block)
                if self._is_to_break(len(block)):
                    break
        _end(service)
        _end(caller)

    def _is_to_break(self, more: int) -> bool:
        with self._lock:
            self.passed += more
            is_due = bool(self._places) and self._places[0] <= self.passed
            if is_due:
                self._places.pop(0)
                self.cuts += 1
            return is_due


def _pass_answers(service: socket.socket, caller: socket.socket) -> None:
    with suppress(OSError):
        while block := service.recv(_BLOCK_BYTES):
            caller.sendall(block)
    _end(caller)


def _end(end: socket.socket) -> None:
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()


@contextmanager
def _watched(pid: int) -> Generator[Callable[[], int]]:
    """Yield a function that says by how much the memory of ``pid`` grew in the block, at most."""
    before = highest = _resident_bytes(pid)
    is_over = threading.Event()

    def watch() -> None:
        nonlocal highest
        while not is_over.wait(_LOOK_SECONDS):
            highest = max(highest, _resident_bytes(pid))

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        yield lambda: highest - before
    finally:
        is_over.set()
        watching.join()


def _resident_bytes(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _write_model(path: Path, size: int) -> None:
    """Write a model of about ``size`` bytes as Keras would, with few rows of it in memory."""
    inputs = max(1, size // (_BYTES_EACH * _UNITS))
    weights = path.with_suffix(".h5")
    with zipfile.ZipFile(_SMALL) as small, zipfile.ZipFile(path, "w") as large:
        small_weights = io.BytesIO(small.read("model.weights.h5"))
        _write_weights(small_weights, weights, inputs)
        large.writestr("metadata.json", small.read("metadata.json"))
        large.writestr("config.json", json.dumps(_widened(small.read("config.json"), inputs)))
        large.write(weights, "model.weights.h5")
    weights.unlink()


def _widened(config: bytes, inputs: int) -> dict[str, Any]:
    """Return the configuration of the small model with another width."""
    model = json.loads(config)
    features, hidden, classes = model["config"]["layers"]
    features["config"]["batch_shape"] = [None, inputs]
    hidden["config"]["units"] = _UNITS
    classes["build_config"]["input_shape"] = [None, _UNITS]
    for part in (hidden, model):
        part["build_config"]["input_shape"] = [None, inputs]
    model["config"]["build_input_shape"] = [None, inputs]
    return model


def _write_weights(small: io.BytesIO, path: Path, inputs: int) -> None:
    with h5py.File(small) as before, h5py.File(path, "w") as file:
        for group in ("layers", "vars"):
            before.copy(group, file)
        for name, shape in (
            ("layers/dense/vars/0", (inputs, _UNITS)),
            ("layers/dense/vars/1", (_UNITS,)),
            ("layers/dense_1/vars/0", (_UNITS, 4)),
        ):
            del file[name]
            _write_random(file.create_dataset(name, shape, "float32"))


def _write_random(dataset: Any) -> None:
    chance = np.random.default_rng(0)
    for begin in range(0, dataset.shape[0], _ROWS_AT_ONCE):
        rows = dataset[begin : begin + _ROWS_AT_ONCE].shape
        dataset[begin : begin + _ROWS_AT_ONCE] = chance.standard_normal(rows, "float32")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


if __name__ == "__main__":
    main()
