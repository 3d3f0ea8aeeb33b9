"""Settings from the environment: a wrong value stops the start with a sentence, a secret may come from a file."""

import os
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured


def env(name: str, default: str = "") -> str:
    """The variable's value, or the content of the file `NAME_FILE` points at, or the default; empty is unset."""
    path = os.environ.get(f"{name}_FILE")
    if path:
        return Path(path).read_text().strip()
    return os.environ.get(name) or default


def env_bool(name: str, default: bool) -> bool:
    """`True` or `False`; anything else is refused."""
    value = env(name, str(default))
    if value not in ("True", "False"):
        raise ImproperlyConfigured(f"{name}={value!r}: use 'True' or 'False'")
    return value == "True"


def env_int(name: str, default: int) -> int:
    """A whole number; anything else is refused."""
    value = env(name, str(default))
    try:
        return int(value)
    except ValueError:
        raise ImproperlyConfigured(f"{name}={value!r}: use a whole number") from None


def env_list(name: str, default: str) -> list[str]:
    """Comma-separated words."""
    return [word.strip() for word in env(name, default).split(",") if word.strip()]


def env_networks(name: str, default: str) -> list[IPv4Network | IPv6Network]:
    """Comma-separated addresses and networks, as in `10.0.0.7, 192.168.0.0/16`; anything else is refused."""
    try:
        return [ip_network(word) for word in env_list(name, default)]
    except ValueError as error:
        raise ImproperlyConfigured(f"{name}: {error}; write addresses or networks: 10.0.0.7,192.168.0.0/16") from None
