"""What to type after a refused push: the hub's sentences with this folder and name in them, and the push of the rest.

The hub writes `hubctl push FOLDER NAME …`, as it knows neither how the folder is called here nor the options given.
"""

import re
import shlex
from collections.abc import Sequence
from typing import Any

from hubctl.errors import Refused

WEIGHTS = ("adapter_model.", "generator.", "adapter_config.json", "generator_config.json")
ABOUT_FILES = ("content.", "path.", "folder.unusable", "upload.too_large")
_PLACES = re.compile(
    r"(?P<both>(?<=hubctl push )FOLDER NAME\b)"
    r"|'FOLDER/(?P<quoted>[^']*)'"
    r"|\bFOLDER(?P<plain>(?:/[^\s;,]+)?)(?![\w'])"
    r"|(?<=[\s'])NAME(?![\w'])"
)


def with_way_on(error: Refused, folder: str, name: str, given: Sequence[str]) -> Refused:
    """The refusal of `hubctl push FOLDER NAME`, `given` being its options, with commands that can be run as they are.

    Where the refused files can stay at home, it has the command that pushes the rest, its fact `push`.
    """
    folder = f"./{folder}" if folder.startswith("-") else folder
    facts = _filled(error.facts, folder, name, given)
    message = _filled(error.message, folder, name, given)
    words = ["hubctl", "push", folder, name, *given]
    if "rename" in facts:
        facts["push"] = shlex.join([*words, "--rename"])
    elif paths := _can_stay(error):
        facts["push"] = shlex.join([*words, *(word for path in paths for word in ("--exclude", path))])
        if facts["push"] not in message:
            message += f"\nTo push the rest: {facts['push']}"
    return type(error)(message, code=error.code, **facts)


def _can_stay(error: Refused) -> list[str]:
    """The refused files, if all of them can be left out: weights and configs can't, nor what can be converted."""
    facts = error.facts
    alone = {**facts, "path": facts.get("file") or facts.get("path") or next(reversed(facts.get("files") or ()), None)}
    rows = facts.get("problems") or [alone]
    paths = [row.get("path") for row in rows]
    stuck = any(
        not path or path.startswith(WEIGHTS) or row.get("command") for path, row in zip(paths, rows, strict=True)
    )
    return [] if stuck or not error.code.startswith(ABOUT_FILES) else paths


def _filled(value: Any, folder: str, name: str, given: Sequence[str]) -> Any:
    """Texts with their commands filled in, in lists and objects too."""
    if isinstance(value, dict):
        return {key: _filled(item, folder, name, given) for key, item in value.items()}
    if isinstance(value, list):
        return [_filled(item, folder, name, given) for item in value]
    if not isinstance(value, str) or "hubctl push " not in value:
        return value
    both = shlex.join([folder, name, *given])

    def fill(found: re.Match[str]) -> str:
        if found["both"]:
            return both
        rest = found["quoted"] if found["plain"] is None else found["plain"][1:]
        return name if rest is None else shlex.quote(f"{folder}/{rest}".removesuffix("/"))

    return _PLACES.sub(fill, value)
