"""Who may be told by a webhook: whoever is on the public internet."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

LONGEST_URL = 2048
#: Ways to write an address of version 4 as one of version 6 that a gateway leads back.
_TRANSLATED = (ipaddress.ip_network("64:ff9b::/96"), ipaddress.ip_network("64:ff9b:1::/48"))
_PORTS = range(1, 65_536)


def require_receiver(url: str) -> str:
    """Return ``url``, if a message may be sent there in principle.

    Raises:
        ValueError: it is no URL, not encrypted on its way to another machine, or too long.

    >>> require_receiver("https://example.org/hook?job=1")
    'https://example.org/hook?job=1'
    """
    if not _is_well_formed(url):
        message = (
            "url must be an https:// URL of at most 2048 ASCII characters, without a name and a "
            "password; http:// goes to this machine only"
        )
        raise ValueError(message)
    return url


def leads_inside(url: str) -> bool:
    """Whether the host of a well-formed ``url`` is this machine, or an address of a private net.

    A name can lead inside as well, which only who resolves it finds out.
    """
    host = urlsplit(url).hostname or ""
    if _is_this_machine(host):
        return True
    try:
        return not is_public(ipaddress.ip_address(host))
    except ValueError:
        return False


def is_public(address: IpAddress) -> bool:
    """Whether ``address`` is one of the public internet, by whatever way it is written.

    >>> from ipaddress import ip_address
    >>> [is_public(ip_address(text)) for text in ("93.184.215.14", "2606:4700::1111")]
    [True, True]
    >>> inside = "127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "::ffff:10.0.0.1"
    >>> any(is_public(ip_address(text)) for text in inside)
    False
    """
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if inner is not None:
            return is_public(inner)
        if address.teredo is not None or any(address in network for network in _TRANSLATED):
            return False
    return address.is_global and not address.is_multicast


def _is_well_formed(url: str) -> bool:
    if len(url) > LONGEST_URL or not url.isascii() or not url.isprintable() or " " in url:
        return False
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return False
    host = parts.hostname or ""
    return (
        (parts.scheme == "https" or (parts.scheme == "http" and _is_this_machine(host)))
        and bool(host)
        and parts.username is None
        and (port is None or port in _PORTS)
    )


def _is_this_machine(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
