"""Which files git keeps beside it (LFS), by the `.gitattributes` of a revision.

Of git's language the lines `PATTERN filter=lfs …` are read, and what takes the filter away again (`-filter`, `!filter`,
another filter): the last line that matches a path decides. A pattern without a slash is for names in any folder, one
with a slash for paths from the top; `**` stands for any folders (gitattributes(5)).
"""

from dataclasses import dataclass
from fnmatch import fnmatchcase

FILE = ".gitattributes"
MAX_BYTES = 64_000
MAX_RULES = 500
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
class Attributes:
    """The rules in the file's order: (the pattern in parts, whether it is for LFS)."""

    rules: tuple[tuple[tuple[str, ...], bool], ...]

    def is_lfs(self, path: str) -> bool:
        """Whether the last rule that matches the path says so."""
        parts = tuple(path.split("/"))
        return next((lfs for pattern, lfs in reversed(self.rules) if _matches(pattern, parts)), False)


def parse(data: bytes) -> Attributes:
    """The rules of a `.gitattributes`; what can't be read as one is no rule. Beyond `MAX_RULES` nothing is read."""
    rules = []
    for line in data[:MAX_BYTES].decode("utf-8", "replace").splitlines():
        pattern, *words = line.split() or [""]
        said = [word for word in words if word.lstrip("-!").partition("=")[0] == "filter"]
        if not said or pattern.startswith(("#", "!")) or len(pattern) > 1024 or pattern.endswith("/"):
            continue
        anchored = "/" in pattern
        parts = pattern.strip('"').lstrip("/").split("/")
        rules.append((tuple(parts if anchored else ["**", *parts]), said[-1] == "filter=lfs"))
    return Attributes(tuple(rules[:MAX_RULES]))


def stored_as_lfs(path: str, size: int, attributes: Attributes) -> bool:
    """Whether git keeps a pointer of this file: by the patterns, and where it is large; an empty file has none."""
    return size > 0 and (size >= LARGE or attributes.is_lfs(path))


def _matches(pattern: tuple[str, ...], parts: tuple[str, ...]) -> bool:
    """Whether the parts of a path match, each part by itself; `**` takes any number of them."""
    at = of = 0
    star = mark = -1
    while of < len(parts):
        if at < len(pattern) and pattern[at] == "**":
            star, mark = at, of
            at += 1
        elif at < len(pattern) and fnmatchcase(parts[of], pattern[at]):
            at, of = at + 1, of + 1
        elif star >= 0:
            mark += 1
            at, of = star + 1, mark
        else:
            return False
    return at == len(pattern)


DEFAULT_ATTRIBUTES = parse(DEFAULT)
