"""What this worker could load, registered or not: so that a base can be registered by choosing it.

Looked through are the bases folders (`HUB_BASES`), GGUF files that lie there or in an installed package, and the
Hugging Face cache. Each find is `{"name", "revision", "config", "source", "where", "open"}`: `source` is what a base's
row would say, `where` is for people, and `open` is False where only an administrator may know of it or name it. No
path of this machine is told. Reading a GGUF takes seconds, so a thread looks, and a file is read once as it stands.
"""

import importlib.metadata
import json
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from django.conf import settings

from composition.errors import CompositionError
from hub.names import BASE_NAME
from workers.bases import bases_roots

SECONDS_A_SCAN = 30.0
MOST = 100
LARGEST_CONFIG, LARGEST_OFFERS = 100_000, 1_000_000  # bytes, of one config and of all
FOLDER, GGUF, PACKAGE, CACHE = "folder", "GGUF file", "GGUF of the package", "Hugging Face cache"

log = logging.getLogger(__name__)


class Offers:
    """What `scan` found last; `changed` is called when that becomes something else."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._found: list[dict[str, Any]] | None = None
        self._next = 0.0
        self._thread: threading.Thread | None = None
        self._read: dict[tuple, dict[str, Any] | None] = {}

    def latest(self) -> list[dict[str, Any]] | None:
        """What is known now; None until the first look is over. A thread looks again some time after the last look."""
        if not settings.WORKER_OFFERS:
            return []
        if time.monotonic() >= self._next and (self._thread is None or not self._thread.is_alive()):
            self._thread = threading.Thread(target=self._look, name="offers", daemon=True)
            self._thread.start()
        return self._found

    def scan(self) -> list[dict[str, Any]]:
        """Look everywhere now; the first place that has a name and revision counts."""
        found: dict[tuple[str, str], dict[str, Any]] = {}
        left = LARGEST_OFFERS
        for offer, config in self._places():
            key = (offer["name"].lower(), offer["revision"])
            fields = None if key in found else self._config(config)
            left -= len(json.dumps(fields)) if fields else 0
            if len(found) >= MOST or left < 0:
                break
            if fields:
                found[key] = {**offer, "config": fields}
        return list(found.values())

    def _look(self) -> None:
        try:
            found = self.scan()
        except Exception:
            log.exception("looking for bases that could be registered")
            found = self._found
        changed, self._found = found != self._found, found
        self._next = time.monotonic() + SECONDS_A_SCAN
        if changed:
            self._changed()

    def _places(self) -> Iterator[tuple[dict[str, Any], Path]]:
        """(what would be offered, the file that its config is in)."""
        for root in bases_roots():
            yield from _in_folders(root)
        yield from _in_packages()
        yield from _in_cache()

    def _config(self, path: Path) -> dict[str, Any] | None:
        """The config in a config.json or a GGUF; None where there is none that can be used."""
        try:
            state = path.stat()
        except OSError:
            return None
        key = (str(path), state.st_mtime_ns, state.st_size)
        if key not in self._read:
            self._read[key] = _read(path, state.st_size)
        return self._read[key]


def _in_folders(root: Path) -> Iterator[tuple[dict[str, Any], Path]]:
    """`<root>/org/name[@revision]` with weights, a GGUF there or beside it, and folders directly below the root."""
    for org in _folders(root):
        if _is_model(org) and BASE_NAME.fullmatch(f"local/{org.name}"):
            source = {"kind": "folder", "path": org.name}
            yield _offer(f"local/{org.name}", source, f"{FOLDER} {org.name}", is_open=False), org / "config.json"
        for path in sorted(org.iterdir()):
            name, _, revision = (path.stem if path.suffix == ".gguf" else path.name).partition("@")
            name, revision = f"{org.name}/{name}", revision or "main"
            if path.name.startswith(".") or not BASE_NAME.fullmatch(name):
                continue
            where = f"{org.name}/{path.name}"
            if path.is_dir() and _is_model(path):
                yield _offer(name, {}, f"{FOLDER} {where}", revision), path / "config.json"
            elif gguf := path if path.suffix == ".gguf" else next(iter(sorted(path.glob("*.gguf"))), None):
                yield _offer(name, {}, f"{GGUF} {where}", revision), gguf


def _in_packages() -> Iterator[tuple[dict[str, Any], Path]]:
    """GGUF files at the top of installed packages, which a base's source names by the package."""
    files = sorted({file for place in sys.path if place for file in Path(place).glob("*/*.gguf")})
    for file in files:
        package = _distribution(file.parent.name)
        name = f"{package}/{file.stem.replace('.', '-')}"
        if BASE_NAME.fullmatch(name):
            yield _offer(name, {"kind": "gguf", "package": package}, f"{PACKAGE} {package}"), file


@cache
def _distribution(module: str) -> str:
    """The name a package is installed by; finding it reads what all of them say of themselves."""
    return next(iter(importlib.metadata.packages_distributions().get(module, [])), module)


def _in_cache() -> Iterator[tuple[dict[str, Any], Path]]:
    """Models whose `main` the Hugging Face cache has whole. Whose models these are is the machine owner's business."""
    from huggingface_hub.constants import HF_HUB_CACHE

    for folder in sorted(Path(HF_HUB_CACHE).glob("models--*--*")):
        name = folder.name.removeprefix("models--").replace("--", "/")
        try:
            snapshot = folder / "snapshots" / (folder / "refs" / "main").read_text().strip()
        except OSError:
            continue
        if BASE_NAME.fullmatch(name) and _is_model(snapshot):
            yield _offer(name, {}, CACHE, is_open=False), snapshot / "config.json"


def _offer(
    name: str, source: Mapping[str, str], where: str, revision: str = "main", *, is_open: bool = True
) -> dict[str, Any]:
    return {"name": name, "revision": revision, "source": dict(source), "where": where, "open": is_open}


def _folders(root: Path) -> list[Path]:
    if not root.is_dir():
        return []
    return [path for path in sorted(root.iterdir()) if path.is_dir() and not path.name.startswith(".")]


def _is_model(folder: Path) -> bool:
    return (folder / "config.json").is_file() and any(folder.glob("*.safetensors"))


def _read(path: Path, size: int) -> dict[str, Any] | None:
    if path.suffix == ".gguf":
        from composition.running.gguf_config import gguf_config

        try:
            return gguf_config(path)
        except CompositionError as error:
            log.warning("a GGUF is not offered as a base: %s", error)
            return None
    if size > LARGEST_CONFIG:
        return None
    try:
        # Infinity as transformers 5 writes it: JSON has no word for it.
        config = json.loads(path.read_text("utf-8"), parse_constant=lambda word: {"__float__": word})
    except (OSError, ValueError, RecursionError):
        return None
    return config if isinstance(config, dict) and isinstance(config.get("model_type"), str) else None
