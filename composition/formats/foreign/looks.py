"""What a folder looks like from outside: the names of its weights, and the tensors' names in their headers.

Recognition reads nothing but headers and small configs, and never raises: what can't be read looks like nothing.
"""

from collections.abc import Callable
from typing import Any

from composition.errors import CompositionError
from composition.formats.peft.names import CONFIG_FILE, WEIGHTS_FILE
from composition.formats.safetensors_header import HIGHEST_MAX_HEADER, SafetensorsHeader, parse_header
from composition.formats.sources import Files, read_start
from composition.formats.strict_json import strict_loads

MAX_SIDE = 1 << 20
MAX_METADATA = 8 << 20
"""sd-scripts writes the frequency of each tag of the training data into the header."""


def top_weights(files: Files, ending: str = ".safetensors") -> list[str]:
    """The weights at the folder's top, sorted."""
    return sorted(path for path in files if "/" not in path and path.lower().endswith(ending))


def json_object(files: Files, path: str) -> dict[str, Any]:
    """A small JSON object of the folder; {} where there is none that can be read."""
    if path not in files or files[path].size > MAX_SIDE:
        return {}
    try:
        found = strict_loads(read_start(files[path], MAX_SIDE), area="import", what=path)
    except CompositionError:
        return {}
    return found if isinstance(found, dict) else {}


def header_of(files: Files, path: str) -> SafetensorsHeader:
    """The header of a safetensors file, with more room for metadata than an adapter of PEFT has."""
    source = files[path]
    with source.open() as stream:
        return parse_header(
            stream, size=source.size, file=path, max_header=HIGHEST_MAX_HEADER, max_metadata=MAX_METADATA
        )


def names_in(files: Files, path: str) -> list[str]:
    """The names of a file's tensors; none where the header can't be read."""
    try:
        return list(header_of(files, path).tensors)
    except (CompositionError, OSError):
        return []


def is_peft(files: Files) -> bool:
    """Whether both of PEFT's files are there, the config saying so."""
    return WEIGHTS_FILE in files and "peft_type" in json_object(files, CONFIG_FILE)


def with_names(files: Files, matches: Callable[[str], object], *, hint: bytes = b"") -> list[str]:
    """The weights at the top in which some tensor's name matches; `hint` is in each such name, and found faster."""
    likely = [path for path in top_weights(files) if not hint or hint in _head(files, path)]
    return [path for path in likely if any(matches(name) for name in names_in(files, path))]


def _head(files: Files, path: str) -> bytes:
    """The header's bytes as they stand; nothing where the file announces more than is read."""
    with files[path].open() as stream:
        length = int.from_bytes(stream.read(8), "little")
        return stream.read(length) if length <= HIGHEST_MAX_HEADER else b""
