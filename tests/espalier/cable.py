"""A connection that breaks when a test says so."""

import socket
import threading
from contextlib import suppress
from typing import Self

_BLOCK_BYTES = 16_384


class Cable:
    """Passes bytes between a port of its own and the service at an address."""

    def __init__(self, service: str) -> None:
        host, _, port = service.removeprefix("http://").partition(":")
        self._service = (host, int(port))
        self._breaks: list[int] = []
        self._spoils: tuple[bytes, bytes] = (b"", b"")
        self._lock = threading.Lock()
        self.answered = 0  #: Bytes of answers that came through.
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._listen, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        _end(self._listener)

    def break_after(self, *counts: int) -> None:
        """Break when so many more bytes of answers have passed; each count follows a break."""
        self._breaks += counts

    def spoil(self, passing: bytes, becomes: bytes) -> None:
        """Change some bytes of answers, as often as they come in one piece."""
        self._spoils = (passing, becomes)

    @property
    def has_broken(self) -> bool:
        """Whether everything that was to break has broken."""
        return not self._breaks

    def _listen(self) -> None:
        with suppress(OSError):
            while True:
                caller, _ = self._listener.accept()
                service = socket.create_connection(self._service)
                for passes, ends in (
                    (self._pass_questions, (caller, service)),
                    (self._pass_answers, (service, caller)),
                ):
                    threading.Thread(target=passes, args=ends, daemon=True).start()

    def _pass_questions(self, caller: socket.socket, service: socket.socket) -> None:
        with suppress(OSError):
            while block := caller.recv(_BLOCK_BYTES):
                service.sendall(block)
        _end(service)

    def _pass_answers(self, service: socket.socket, caller: socket.socket) -> None:
        with suppress(OSError):
            while block := service.recv(_BLOCK_BYTES):
                passed = self._passed(block)
                caller.sendall(passed)
                if len(passed) < len(block):
                    break
        _end(caller)
        _end(service)

    def _passed(self, block: bytes) -> bytes:
        with self._lock:
            if self._breaks and self._breaks[0] < len(block):
                block = block[: self._breaks.pop(0)]
            elif self._breaks:
                self._breaks[0] -= len(block)
            self.answered += len(block)
            return block.replace(*self._spoils) if self._spoils[0] else block


def _end(end: socket.socket) -> None:
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()
