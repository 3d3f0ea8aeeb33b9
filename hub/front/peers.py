"""Who sent a request: the address of the connection, or what a trusted proxy says of it."""

from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Networks = Sequence[IPv4Network | IPv6Network]


def networks(words: Sequence[str]) -> tuple[IPv4Network | IPv6Network, ...]:
    """Addresses and networks in CIDR notation; ValueError for anything else."""
    return tuple(ip_network(word, strict=False) for word in words)


def is_trusted(peer: str, trusted: Networks) -> bool:
    """True if the peer is one of the proxies whose X-Forwarded-… headers are believed."""
    try:
        address = ip_address(peer)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None) or address
    return any(mapped in network for network in trusted)


def address_of(peer: str, forwarded_for: str, trusted: Networks) -> str:
    """The address a request comes from: the right-most of X-Forwarded-For that is no trusted proxy itself.

    The header of an untrusted peer is not looked at, since anyone can write it.
    """
    if not is_trusted(peer, trusted):
        return peer
    found = peer
    for word in reversed(forwarded_for.split(",")):
        try:
            found = str(ip_address(word.strip()))
        except ValueError:
            break
        if not is_trusted(found, trusted):
            break
    return found


def holder(address: str) -> str:
    """Whose caps an address counts for: of IPv6, where one customer has a network, its first 64 bits."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if not isinstance(parsed, IPv6Address):
        return str(parsed)
    if parsed.ipv4_mapped:
        return str(parsed.ipv4_mapped)
    return str(ip_network((parsed, 64), strict=False))
