"""Where the client remembers things: the sign-in in the config folder (0600), cut uploads in the cache folder.

`HUBCTL_URL` and `HUBCTL_TOKEN` come before the file. Folders follow XDG_CONFIG_HOME and XDG_CACHE_HOME.
"""

import json
import os
from pathlib import Path
from typing import Any

DEFAULT_URL = "http://127.0.0.1:8000"


def _folder(variable: str, default: str) -> Path:
    return Path(os.environ.get(variable) or Path.home() / default) / "hubctl"


def config_path() -> Path:
    """The file that holds url, username and token."""
    return _folder("XDG_CONFIG_HOME", ".config") / "config.json"


def cache_folder() -> Path:
    """The folder for what may be lost at any time."""
    return _folder("XDG_CACHE_HOME", ".cache")


def read_json(path: Path) -> dict[str, Any]:
    """The file's object, or {} where it is missing or broken."""
    try:
        data = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}


def write_private(path: Path, data: dict[str, Any]) -> None:
    """Write JSON that only its owner may read, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(data, file, indent=1)
    os.replace(part, path)


def saved() -> dict[str, str]:
    """What `hubctl login` stored: url, token, username; {} before."""
    return read_json(config_path())


def save(url: str, token: str, username: str) -> Path:
    """Keep a sign-in; returns the file."""
    write_private(config_path(), {"url": url, "token": token, "username": username})
    return config_path()


def forget() -> None:
    """Drop the sign-in."""
    config_path().unlink(missing_ok=True)


def current(url: str | None = None) -> tuple[str, str | None]:
    """(url, token) to use: the option, then the environment, then the file. A token is only sent to its own hub."""
    stored = saved()
    chosen = (url or os.environ.get("HUBCTL_URL") or stored.get("url") or DEFAULT_URL).rstrip("/")
    token = os.environ.get("HUBCTL_TOKEN") or (stored.get("token") if stored.get("url") == chosen else None)
    return chosen, token
