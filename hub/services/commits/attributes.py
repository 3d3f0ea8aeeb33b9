"""Which files git keeps beside it (LFS), by the `.gitattributes` of a revision.

Of git's language the lines `PATTERN filter=lfs …` are read, and what takes the filter away again (`-filter`, `!filter`,
another filter): the last line that matches a path decides. A pattern without a slash is for names in any folder, one
with a slash for paths from the top; `**` stands for any folders (gitattributes(5)).

The file is a stranger's and is asked about every path of a listing, so that the work for one path is bounded: by the
number of rules, the parts that all of them have together, and how deep a path is.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import translate
from functools import lru_cache

FILE = ".gitattributes"
ANY = "**"
MAX_BYTES = 64_000
MAX_RULES, MAX_PATTERN = 500, 256
MAX_PARTS = 1500
"""Parts that the patterns with slashes may have together; rules beyond it are not read."""
MAX_DEPTH, MAX_PATH = 32, 1024
"""Paths of more parts are judged by the patterns without a slash alone; longer ones by none, nor are they stored."""
LARGE = 10_000_000
"""Files of this many bytes are kept beside git whatever the patterns say."""

_ENDINGS = """
    7z arrow avro bin bz2 ckpt ftz gguf gz h5 joblib lfs mds mlmodel model msgpack npy npz onnx ot parquet pb pickle
    pkl pt pth rar safetensors tar tflite tgz wasm xz zip zst
""".split()
_PATTERNS = (*(f"*.{ending}" for ending in _ENDINGS), "*.lfs.*", "*.tar.*", "*tfevents*", "saved_model/**/*")
DEFAULT = "".join(f"{pattern} filter=lfs diff=lfs merge=lfs -text\n" for pattern in _PATTERNS).encode()
"""The file of a new repository of the protocol, and what holds where a revision has none."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What a line says of the paths that its pattern matches. `parts` of one part is for names in any folder."""

    parts: tuple[str | re.Pattern[str], ...]
    lfs: bool
    anchored: bool

    def matches(self, path: Sequence[str]) -> bool:
        """Whether the pattern matches a path, given in its parts."""
        if not self.anchored:
            return _fits(self.parts[0], path[-1])
        return len(path) <= MAX_DEPTH and _matches(self.parts, path)


@dataclass(frozen=True, slots=True)
class Attributes:
    """The rules in the file's order."""

    rules: tuple[Rule, ...]

    def is_lfs(self, path: str) -> bool:
        """Whether the last rule that matches the path says so."""
        if len(path) > MAX_PATH:
            return False
        parts = path.split("/")
        return next((rule.lfs for rule in reversed(self.rules) if rule.matches(parts)), False)


@lru_cache(64)
def parse(data: bytes) -> Attributes:
    """The rules of a `.gitattributes`; what can't be read as one is no rule. Beyond the limits nothing is read."""
    rules: list[Rule] = []
    left = MAX_PARTS
    for line in data[:MAX_BYTES].decode("utf-8", "replace").splitlines():
        pattern, *words = line.split() or [""]
        said = [word for word in words if word.lstrip("-!").partition("=")[0] == "filter"]
        if not said or pattern.startswith(("#", "!")) or len(pattern) > MAX_PATTERN or pattern.endswith("/"):
            continue
        anchored = "/" in pattern
        parts = pattern.strip('"').lstrip("/").split("/")
        left -= len(parts) if anchored else 0
        if left < 0 or len(rules) == MAX_RULES:
            break
        rules.append(Rule(tuple(map(_part, parts)), said[-1] == "filter=lfs", anchored))
    return Attributes(tuple(rules))


def stored_as_lfs(path: str, size: int, attributes: Attributes) -> bool:
    """Whether git keeps a pointer of this file: by the patterns, and where it is large; an empty file has none."""
    return size > 0 and (size >= LARGE or attributes.is_lfs(path))


def _part(text: str) -> str | re.Pattern[str]:
    return re.compile(translate(text)) if text != ANY and any(sign in text for sign in "*?[") else text


def _fits(part: str | re.Pattern[str], name: str) -> bool:
    return part == name if isinstance(part, str) else part.match(name) is not None


def _matches(pattern: Sequence[str | re.Pattern[str]], parts: Sequence[str]) -> bool:
    """Whether the parts of a path match, each part by itself; `**` takes any number of them."""
    at = of = 0
    star = mark = -1
    while of < len(parts):
        if at < len(pattern) and pattern[at] == ANY:
            star, mark = at, of
            at += 1
        elif at < len(pattern) and _fits(pattern[at], parts[of]):
            at, of = at + 1, of + 1
        elif star >= 0:
            mark += 1
            at, of = star + 1, mark
        else:
            return False
    return at == len(pattern)


DEFAULT_ATTRIBUTES = parse(DEFAULT)
