"""Who the client is: the peer of the connection, or what a trusted proxy says of its own client.

An X-Forwarded-For header is what anyone can write. It is believed only as far as the hops that HUB_TRUSTED_PROXIES
names: read from the right, the first address that is no trusted proxy is the client.
"""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from django.conf import settings
from django.http import HttpRequest

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


def address_of(request: HttpRequest) -> str:
    """The client's address as text; "" where the server does not know its peer."""
    forwarded = request.META.get("HTTP_X_FORWARDED_FOR", "")
    return client_address(request.META.get("REMOTE_ADDR", ""), forwarded, settings.TRUSTED_PROXIES)


def is_trusted(peer: str) -> bool:
    """Whether the peer of a connection is one of HUB_TRUSTED_PROXIES."""
    at = _parsed(peer)
    return at is not None and _is_trusted(at, settings.TRUSTED_PROXIES)


def client_address(peer: str, forwarded: str, trusted: Sequence[Network]) -> str:
    """The client behind `peer` by the X-Forwarded-For value `forwarded`; the last hop that can be read, or `peer`."""
    at = _parsed(peer)
    for hop in reversed(forwarded.split(",")):
        if at is None or not _is_trusted(at, trusted):
            break
        before = _parsed(hop)
        if before is None:
            break
        at = before
    return peer[:100] if at is None else str(at)


def _is_trusted(address: Address, trusted: Sequence[Network]) -> bool:
    return any(address in network for network in trusted if network.version == address.version)


def _parsed(text: str) -> Address | None:
    """The address of `1.2.3.4`, `1.2.3.4:80`, `::1` or `[::1]:80`; IPv4 in IPv6 is IPv4; None for anything else."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
