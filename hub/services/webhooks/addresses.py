"""Which addresses a webhook may reach. A hub stands inside a network that its users must not look into.

A host name is resolved once, every address it has must be allowed, and the connection goes to the address that was
checked: a name that answers differently the second time gains nothing. `HUB_WEBHOOK_NETWORKS` opens the site's own
networks.
"""

import ipaddress
import socket
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from urllib.parse import SplitResult, urlsplit

from django.conf import settings

from hub.errors import Invalid

LONGEST = 1000
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Networks = Sequence[ipaddress.IPv4Network | ipaddress.IPv6Network]
# Of IPv6 the internet is this block alone. What is outside of it leads nowhere or inside: old site-local addresses,
# and IPv4 within IPv6 as NAT64, SIIT or IPv4-compatible addresses.
INTERNET = ipaddress.ip_network("2000::/3")
# In that block, yet ways into a network: IPv4 within IPv6 by 6to4 and Teredo.
TUNNELS = [ipaddress.ip_network(text) for text in ("2002::/16", "2001::/32")]


class Refused(Exception):
    """The address may not be reached; the sentence says why."""


def check_url(url: str) -> SplitResult:
    """The parts of a webhook's address; Invalid where it could never be one. The host is not looked up."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise _invalid(url, "it can't be read") from None
    if len(url) > LONGEST or not url.isascii() or not url.isprintable() or " " in url:
        raise _invalid(url, f"it has more than {LONGEST} characters, or others than printable ASCII without spaces")
    if parts.scheme not in ("https", "http") or not parts.hostname:
        raise _invalid(url, "it is no https address")
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise _invalid(url, "it holds a user name, a password or a fragment; secrets belong into the signature")
    if port == 0:
        raise _invalid(url, "its port is 0")
    if parts.scheme == "http" and not settings.WEBHOOK_NETWORKS:
        raise _invalid(url, "it is not encrypted")
    literal = _literal(parts.hostname)
    if literal is not None and not is_allowed(literal):
        raise _invalid(url, f"{literal} is an address inside a private network")
    return parts


def resolve(parts: SplitResult, *, seconds: float, networks: Networks | None = None) -> str:
    """The one address to connect to; Refused where the host has none in that time, or one that is not allowed.

    `networks` are those that are open beside the internet, also without https; webhooks' own where they are left out.
    """
    networks = settings.WEBHOOK_NETWORKS if networks is None else networks
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        found = _look_up(parts.hostname, port, seconds)
    except TimeoutError:
        raise Refused(f"{parts.hostname} can't be looked up: its name servers are too slow") from None
    except (OSError, UnicodeError) as error:
        raise Refused(f"{parts.hostname} can't be looked up: {error}") from None
    addresses = [ipaddress.ip_address(row[4][0].partition("%")[0]) for row in found]
    for address in addresses:
        if not is_allowed(address, networks):
            raise Refused(f"{parts.hostname} leads into a private network, which this hub may not reach")
        if parts.scheme == "http" and not _within(address, networks):
            raise Refused("only networks that the operator has opened may be reached without https")
    return str(addresses[0])


def is_allowed(address: Address, networks: Networks | None = None) -> bool:
    """True for what is on the public internet, and for the networks that the site has opened."""
    address = getattr(address, "ipv4_mapped", None) or address
    if _within(address, settings.WEBHOOK_NETWORKS if networks is None else networks):
        return True
    if address.version == 6 and (address not in INTERNET or any(address in tunnel for tunnel in TUNNELS)):
        return False
    return address.is_global and not address.is_multicast


def _look_up(host: str, port: int, seconds: float) -> list[tuple]:
    """The system's answer; TimeoutError after `seconds`. The system takes no deadline, so a thread asks it."""
    found: Future[list[tuple]] = Future()

    def ask() -> None:
        try:
            found.set_result(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except Exception as error:
            found.set_exception(error)

    threading.Thread(target=ask, name="look-up", daemon=True).start()
    return found.result(timeout=seconds)


def _within(address: Address, networks: Networks) -> bool:
    return any(address in network for network in networks if network.version == address.version)


def _literal(host: str) -> Address | None:
    """The address that a host is, in any way it can be written (127.1, 0x7f000001); None for a name."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        pass
    try:
        return ipaddress.IPv4Address(socket.inet_aton(host))
    except OSError:
        return None


def _invalid(url: str, why: str) -> Invalid:
    return Invalid(
        f"{url[:200]!r} can't be a webhook's address: {why}. Write https://host/path of a host on the internet; an "
        "operator opens other networks by HUB_WEBHOOK_NETWORKS.",
        field="url",
        code="webhook.url",
    )
