"""Sends what webhooks are told: signed, again where it did not arrive, and to nobody's inside.

A receiver's address comes from a caller, and the request from a machine that may reach what the
caller cannot. So its name is resolved here, every address that it has must be a public one, and the
connection goes to that address and not to the name, which may lead elsewhere a moment later.
"""

from __future__ import annotations

import ipaddress
import logging
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Self

import httpx2
from standardwebhooks import Webhook

from app.jobs.delivery import Delivery
from app.jobs.errors import BackendUnavailableError
from app.jobs.receivers import IpAddress, is_public
from app.jobs.webhooks import Webhooks

logger = logging.getLogger(__name__)

_LOOK_SECONDS = 1.0
_TIMEOUT_SECONDS = 15.0
_AT_ONCE = 4
_ERROR_CHARACTERS = 200


class UnreachableReceiverError(Exception):
    """The receiver has no address that may be sent to; the message says why."""


class Courier:
    """Sends messages that are due, in threads of its own, until the block ends.

    Args:
        webhooks: The messages.
        allow_private: Whether they may go to this machine and to private networks.
    """

    def __init__(self, webhooks: Webhooks, *, allow_private: bool) -> None:
        self._webhooks = webhooks
        self._allow_private = allow_private
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._look_until_closed, name="courier", daemon=True)
        # What the environment says of proxies is for other requests than a stranger's.
        self._http = httpx2.Client(
            timeout=_TIMEOUT_SECONDS, trust_env=False, headers={"User-Agent": "espalier-webhooks"}
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._thread.join()
        self._http.close()

    def deliver_due(self) -> None:
        """Send what is due, a few at a time, and write down how it went.

        Raises:
            BackendUnavailableError: the database cannot be reached.
        """
        with ThreadPoolExecutor(_AT_ONCE) as threads:
            while taken := self._webhooks.take_due(_AT_ONCE):
                list(threads.map(self._deliver, taken))

    def _look_until_closed(self) -> None:
        while not self._closing.wait(_LOOK_SECONDS):
            try:
                self.deliver_due()
            except BackendUnavailableError as error:
                logger.warning("webhooks wait: %s", error)
            except Exception:
                # Without it, no message is sent for as long as the API lives.
                logger.exception("webhooks wait")

    def _deliver(self, taken: tuple[Delivery, str]) -> None:
        delivery, secret = taken
        try:
            status = self._sent(delivery, secret)
        except (UnreachableReceiverError, httpx2.HTTPError, httpx2.InvalidURL) as error:
            reason = (str(error) or type(error).__name__)[:_ERROR_CHARACTERS]
            self._webhooks.attempted(delivery, status=None, error=reason)
        else:
            self._webhooks.attempted(delivery, status=status, error=None)

    def _sent(self, delivery: Delivery, secret: str) -> int:
        """Send it; return the status of the answer, whose body nobody reads."""
        url = httpx2.URL(delivery.url)
        address = public_address(url, allow_private=self._allow_private)
        now = datetime.now(UTC)
        headers = {
            "Host": url.netloc.decode("ascii"),
            "Content-Type": "application/json",
            "webhook-id": delivery.id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": Webhook(secret).sign(delivery.id, now, delivery.body),
        }
        with self._http.stream(
            "POST",
            url.copy_with(host=str(address)),
            content=delivery.body,
            headers=headers,
            # The certificate must be that of the name, whatever the address.
            extensions={"sni_hostname": url.host},
        ) as answer:
            return answer.status_code


def public_address(url: httpx2.URL, *, allow_private: bool) -> IpAddress:
    """Return an address of the host of ``url``.

    Raises:
        UnreachableReceiverError: it has none, or one that is not public and not allowed.
    """
    try:
        found = socket.getaddrinfo(url.host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        message = f"the host must have an address. Received: {url.host} ({error})"
        raise UnreachableReceiverError(message) from error
    addresses = [ipaddress.ip_address(entry[4][0]) for entry in found]
    if not allow_private and not all(is_public(address) for address in addresses):
        message = f"the host must have public addresses only. Received: {url.host}"
        raise UnreachableReceiverError(message)
    return addresses[0]
