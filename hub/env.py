"""Settings from the environment: a wrong value stops the start with a sentence, a secret may come from a file."""

import os
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from urllib.parse import unquote, urlsplit

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


def mail_settings(url: str, sender: str, site: str) -> dict[str, object]:
    """Django's settings for mails: `smtp://user:password@host:587` (STARTTLS where there is a password), `smtps://…`,
    `console:` or `file:///folder`. Nothing for ""."""
    if not url:
        return {}
    parts = urlsplit(url)
    if not sender or not site:
        raise ImproperlyConfigured(
            "HUB_EMAIL_URL needs HUB_EMAIL_FROM, the sender's address, and HUB_URL, the hub's own address."
        )
    if parts.scheme == "console":
        return {"EMAIL_BACKEND": "django.core.mail.backends.console.EmailBackend"}
    if parts.scheme == "file":
        backend = "django.core.mail.backends.filebased.EmailBackend"
        return {"EMAIL_BACKEND": backend, "EMAIL_FILE_PATH": parts.path}
    if parts.scheme not in ("smtp", "smtps") or not parts.hostname:
        raise ImproperlyConfigured(
            f"HUB_EMAIL_URL begins with {parts.scheme!r}: use smtp://user:password@host:port, smtps://…, console: or "
            "file:///folder"
        )
    encrypted = parts.scheme == "smtps"
    return {
        "EMAIL_HOST": parts.hostname,
        "EMAIL_PORT": parts.port or (465 if encrypted else 587 if parts.username else 25),
        "EMAIL_HOST_USER": unquote(parts.username or ""),
        "EMAIL_HOST_PASSWORD": unquote(parts.password or ""),
        "EMAIL_USE_SSL": encrypted,
        "EMAIL_USE_TLS": bool(parts.username) and not encrypted,
        "EMAIL_TIMEOUT": 30,
    }
