"""A connection to the service that can be cut, as a train in a tunnel cuts it."""

import socket
import threading
from contextlib import suppress
from typing import Self

_BLOCK_BYTES = 65_536


class Cable:
    """Passes bytes between a port of its own and the service, until it is cut."""

    def __init__(self, service: str) -> None:
        host, _, port = service.removeprefix("http://").partition(":")
        self._service = (host, int(port))
        self._is_cut = False
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._listen, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.cut()
        _end(self._listener)

    def cut(self) -> None:
        """End every connection, and take no new one."""
        self._is_cut = True
        for end in list(self._open):
            _end(end)

    def mend(self) -> None:
        """Take connections again."""
        self._is_cut = False

    def _listen(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                if self._is_cut:
                    _end(client)
                    continue
                service = socket.create_connection(self._service)
                self._open |= {client, service}
                for pair in ((client, service), (service, client)):
                    threading.Thread(target=_pump, args=pair, daemon=True).start()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while block := source.recv(_BLOCK_BYTES):
            sink.sendall(block)
    _end(source)
    _end(sink)


def _end(end: socket.socket) -> None:
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()
