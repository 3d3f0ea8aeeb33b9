"""What the stages share: a folder from which a killed run resumes, digests, adapters put on and taken off.

Each product is one file, written beside and renamed, that carries the digest of the recipe's part and the inputs it
came from. A product with another digest is ignored.
"""

import hashlib
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from composition.errors import CompositionError
from composition.formats.peft.names import CONFIG_FILE, WEIGHTS_FILE
from composition.formats.safetensors_writer import replace_file
from composition.progress import Progress
from composition.running.base_models import adapter_attached

SHOWN = 20
"""How many kept and rejected examples a report holds."""
LIVE = 3
"""How many examples a progress call holds."""


def digest(*parts: Any) -> str:
    """SHA-256 hex of JSON-able parts."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def folder_digest(folder: Path) -> str:
    """SHA-256 hex of an adapter's config and weights; a missing file counts for nothing."""
    seen = hashlib.sha256()
    for name in (CONFIG_FILE, WEIGHTS_FILE):
        path = folder / name
        if path.is_file():
            seen.update(name.encode() + path.read_bytes())
    return seen.hexdigest()


class Product:
    """One stage's state as JSON: `read` gives it back while the digest is the same."""

    def __init__(self, path: Path, key: str) -> None:
        self.path, self.key = path, key

    def read(self) -> dict[str, Any] | None:
        """The state, or None where there is none of this digest."""
        try:
            held = json.loads(self.path.read_text(encoding="utf-8"))
            return held["state"] if held["digest"] == self.key else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write(self, state: Mapping[str, Any]) -> None:
        """Keep the state; a whole file is always there."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps({"digest": self.key, "state": state}, ensure_ascii=False, sort_keys=True)
        replace_file(self.path, iter([text.encode()]))


class Part:
    """Progress of one stage as a share [`begin`, `end`] of the whole; figures name the stage."""

    def __init__(self, progress: Progress, stage: str, begin: float, end: float) -> None:
        self.progress, self.stage, self.begin, self.end = progress, stage, begin, end

    def __call__(self, fraction: float, message: str = "", **figures: Any) -> None:
        fraction = min(max(fraction, 0.0), 1.0)
        named = {"stage": self.stage, **figures}  # a part of a part names the finer stage
        self.progress(self.begin + (self.end - self.begin) * fraction, message, **named)


class Clock:
    """Seconds spent, added to those of earlier attempts."""

    def __init__(self, earlier: float = 0.0) -> None:
        self.earlier, self.start = earlier, time.monotonic()

    @property
    def seconds(self) -> float:
        return round(self.earlier + time.monotonic() - self.start, 2)


@contextmanager
def attached(model: Any, folder: Path, what: str, base: str) -> Iterator[Any]:
    """The base with the adapter on it, as it was afterwards. Error: `adapter.does_not_load`, which names `what`."""
    with unchanged(model), _attached(model, folder, what, base) as adapted:
        yield adapted


@contextmanager
def _attached(model: Any, folder: Path, what: str, base: str) -> Iterator[Any]:
    context = adapter_attached(model, folder)
    try:
        adapted = context.__enter__()
    except CompositionError as error:
        if error.code != "adapter.does_not_load":
            raise
        message = f"{what} does not fit {base or 'the source base'}. {error.message}"
        raise CompositionError(error.code, message, **{**error.facts, "base": base}) from error
    try:
        yield adapted
    finally:
        context.__exit__(None, None, None)


@contextmanager
def unchanged(model: Any) -> Iterator[Any]:
    """Restores the base's mode and its parameters' requires_grad after training inside the block."""
    wanted = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    training = model.training
    try:
        yield model
    finally:
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(wanted.get(name, False))
        model.train(training)


def forward_only(progress: Progress) -> Progress:
    """Progress that never goes back, although stages run in rounds."""
    farthest = 0.0

    def tell(fraction: float, message: str = "", **figures: Any) -> None:
        nonlocal farthest
        farthest = max(farthest, fraction)
        progress(farthest, message, **figures)

    return tell
