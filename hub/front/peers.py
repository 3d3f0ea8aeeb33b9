"""Who sent a request: the peer of the connection, or what a trusted proxy says of its own client.

An X-Forwarded-For header is what anyone can write. It is believed only as far as the hops that HUB_TRUSTED_PROXIES
names: read from the right, the first address that is no trusted proxy is the client.
"""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address
Networks = Sequence[IPv4Network | IPv6Network]


def networks(words: Sequence[str]) -> tuple[IPv4Network | IPv6Network, ...]:
    """Addresses and networks in CIDR notation; ValueError for anything else."""
    return tuple(ip_network(word, strict=False) for word in words)


def is_trusted(peer: str, trusted: Networks) -> bool:
    """True if the peer is one of the proxies whose X-Forwarded-… headers are believed."""
    at = _parsed(peer)
    return at is not None and _is_in(at, trusted)


def address_of(peer: str, forwarded_for: str, trusted: Networks) -> str:
    """The client behind `peer` by the X-Forwarded-For value; the last hop that can be read, or `peer`."""
    at = _parsed(peer)
    for hop in reversed(forwarded_for.split(",")):
        if at is None or not _is_in(at, trusted):
            break
        before = _parsed(hop)
        if before is None:
            break
        at = before
    return peer[:100] if at is None else str(at)


def holder(address: str) -> str:
    """Whose caps an address counts for: of IPv6, where one customer has a network, its first 64 bits."""
    parsed = _parsed(address)
    if parsed is None:
        return address
    return str(parsed) if parsed.version == 4 else str(ip_network((parsed, 64), strict=False))


def _is_in(address: Address, trusted: Networks) -> bool:
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
