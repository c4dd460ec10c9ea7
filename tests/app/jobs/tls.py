"""TLS in front of a server that speaks none, as a load balancer or a managed Redis has it."""

import socket
import ssl
import threading
from contextlib import contextmanager, suppress


@contextmanager
def behind_tls(port, certificate):
    """Give a port of this machine where TLS is spoken, and what comes is passed on to ``port``."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=_accept, args=(listener, context, port), daemon=True).start()
        yield listener.getsockname()[1]


def _accept(listener, context, port):
    while True:
        try:
            caller, _ = listener.accept()
        except OSError:
            return
        # Who does not like the certificate goes away.
        with suppress(OSError):
            secured = context.wrap_socket(caller, server_side=True)
            behind = socket.create_connection(("127.0.0.1", port))
            for pair in ((secured, behind), (behind, secured)):
                threading.Thread(target=_pass_on, args=pair, daemon=True).start()


def _pass_on(source, target):
    with source, suppress(OSError):
        while block := source.recv(65536):
            target.sendall(block)
    with suppress(OSError):
        target.shutdown(socket.SHUT_RDWR)
