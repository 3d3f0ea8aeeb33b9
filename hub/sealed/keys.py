"""The hub's secret key and those it had before: from the environment, and in two files of the data folder.

`secret_key` is made once where HUB_SECRET_KEY isn't given. `old_secret_keys.json` is written by a restore: a list of
the keys that secrets in the restored rows may still be sealed with.
"""

import contextlib
import json
import secrets
from collections.abc import Sequence
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured

from hub.env import env, env_list

KEY, OLD_KEYS = "secret_key", "old_secret_keys.json"


def secret_key(folder: Path) -> str:
    """The given key, or one made once and kept in the data folder."""
    path = folder / KEY
    given = env("HUB_SECRET_KEY")
    if given:
        return given
    if not path.exists():
        _make(path)
    return path.read_text().strip()


def old_secret_keys(folder: Path) -> list[str]:
    """The keys of HUB_OLD_SECRET_KEYS, then those that a restore has kept."""
    given, path = env_list("HUB_OLD_SECRET_KEYS", ""), folder / OLD_KEYS
    if not path.exists():
        return given
    try:
        kept = json.loads(path.read_text())
        if not isinstance(kept, list) or not all(isinstance(key, str) and key for key in kept):
            raise ValueError("it is not a list of keys")
    except ValueError as error:
        raise ImproperlyConfigured(f"{path}: {error}; write a JSON list of keys, or remove the file") from None
    return given + [key for key in kept if key not in given]


def restore_keys(folder: Path, key: str, old: Sequence[str]) -> bool:
    """Make `key` this hub's, with the `old` ones beside it; False where HUB_SECRET_KEY is another, which stays, and
    `key` becomes an old one. What was in the files before is forgotten."""
    given = env("HUB_SECRET_KEY")
    other = bool(given) and given != key
    if not given:
        write_secret(folder / KEY, key)
    keep = [one for one in dict.fromkeys([key, *old] if other else old) if one != (given or key)]
    (folder / OLD_KEYS).unlink(missing_ok=True)
    if keep:
        write_secret(folder / OLD_KEYS, json.dumps(keep))
    return not other


def _make(path: Path) -> None:
    """Write a new key, unless another process has just done so: of several at once all go on with the same."""
    made = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    write_secret(made, secrets.token_urlsafe(50))
    with contextlib.suppress(FileExistsError):
        path.hardlink_to(made)
    made.unlink()


def write_secret(path: Path, text: str) -> None:
    """Write a file that only this user reads, in the place of another."""
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    path.write_text(text)
