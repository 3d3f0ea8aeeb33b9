"""What may be uploaded at all: names that mean the same file everywhere, and formats that nobody executes.

A name is a row in a table and never a path on the server, but clients write it to their disks. A file is judged by its
first bytes, so that a renamed pickle is still a pickle, and by the names of what loads as code: PyTorch's weights,
programs, pages. Any other kind of file is stored as it is, and nobody here reads it. Nothing is unpacked.
"""

import unicodedata
from collections.abc import Collection, Iterable, Iterator

from composition.errors import CompositionError
from composition.formats.disguises import unmask
from composition.formats.mixture.config import LOADER_FILE
from composition.formats.pickle_streams import reads_as_pickle
from composition.formats.pickles import is_torch_weights, pickle_advice, zip_advice
from composition.formats.strict_json import shorten

MAX_SEGMENT = 255
MAX_PATH = 1024
MAX_FILES = 2000
SNIFF_BYTES = 1024

DOCUMENTS = frozenset(
    {".json", ".jsonl", ".md", ".txt", ".jinja", ".yaml", ".yml", ".model", ".csv", ".tiktoken", ".vocab", ".codes"}
)
IMAGES = frozenset({".png", ".jpg", ".jpeg", ".gif", ".webp"})
MAX_DOCUMENT = 64 * 1024 * 1024
MAX_IMAGE = 10 * 1024 * 1024

PICKLES = frozenset({".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle"})
ARCHIVES = frozenset({".zip", ".tar", ".gz", ".tgz", ".xz", ".bz2", ".7z", ".rar", ".zst", ".whl", ".npz"})
CODE = frozenset({".py", ".pyc", ".so", ".dll", ".exe", ".sh", ".bat", ".ps1", ".js", ".ipynb", ".jar", ".pyd"})
ACTIVE = frozenset({".html", ".htm", ".xhtml", ".svg", ".xml"})

_ARCHIVE_MAGIC = {
    b"7z\xbc\xaf\x27\x1c": "7z",
    b"Rar!\x1a\x07": "RAR",
    b"\x1f\x8b": "gzip",
    b"\xfd7zXZ\x00": "xz",
    b"BZh": "bzip2",
    b"\x28\xb5\x2f\xfd": "Zstandard",
    b"\x04\x22\x4d\x18": "LZ4",
}
_EXECUTABLE_MAGIC = {
    b"\x7fELF": "an ELF program",
    b"MZ": "a Windows program",
    b"#!": "a script",
    b"\xfe\xed\xfa\xce": "a macOS program",
    b"\xfe\xed\xfa\xcf": "a macOS program",
    b"\xce\xfa\xed\xfe": "a macOS program",
    b"\xcf\xfa\xed\xfe": "a macOS program",
    b"\xca\xfe\xba\xbe": "a macOS or Java program",
    b"\x00asm": "a WebAssembly program",
}
_ACTIVE_STARTS = (b"<!doctype html", b"<html", b"<head", b"<body", b"<script", b"<svg", b"<?xml", b"<iframe")


def check_path(name: str) -> None:
    """Refuse a name that is not one plain relative path in NFC. Raises CompositionError `path.*` with `file`."""
    if not isinstance(name, str) or not name:
        raise _path("empty", name, "is empty", "Give the file a name.")
    if len(name.encode("utf-8", "surrogatepass")) > MAX_PATH:
        raise _path("too_long", name, f"is longer than {MAX_PATH} bytes", "Shorten it.")
    if any(unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp") for character in name):
        raise _path("control", name, "holds control or invisible characters", "Rename the file.")
    if unicodedata.normalize("NFC", name) != name:
        raise _path("not_nfc", name, "is not in Unicode's composed form (NFC)", "Rename the file.")
    if name.startswith("/"):
        raise _path("absolute", name, "begins with a slash", "Give it relative to the adapter's folder.")
    if "\\" in name:
        raise _path("character", name, "holds a backslash", "Separate folders by / and rename the file.")
    for segment in name.split("/"):
        _check_segment(name, segment)
    folders = [segment.lower() for segment in name.split("/")]
    if ".git" in folders or ".cache" in folders[:-1] or folders[0] == ".cache":
        raise _path("reserved", name, "lies in a .git or .cache folder", "Push the adapter's own files only.")


_DEVICES = {"con", "prn", "aux", "nul"} | {f"{port}{number}" for port in ("com", "lpt") for number in range(1, 10)}


def _check_segment(name: str, segment: str) -> None:
    if segment in ("", ".", ".."):
        raise _path("segment", name, f"holds the part {segment!r}", "Write it without empty parts, . and ..")
    if len(segment.encode("utf-8", "surrogatepass")) > MAX_SEGMENT:
        raise _path("too_long", name, f"has a part longer than {MAX_SEGMENT} bytes", "Shorten it.")
    if segment != segment.strip() or segment.endswith("."):
        raise _path("segment", name, "has a part that begins or ends with a space, or ends with a dot", "Rename it.")
    if segment.partition(".")[0].lower() in _DEVICES:
        raise _path("segment", name, "has a part that is a device on Windows", "Rename it.")


def check_paths(names: Iterable[str]) -> None:
    """Check each name, and that no two of them mean one file anywhere. Raises `path.*` with `file` or `files`."""
    for problem in path_problems(names):
        raise problem


def path_problems(names: Iterable[str]) -> Iterator[CompositionError]:
    """All that `check_paths` could raise, in its order."""
    names = list(names)
    if len(names) > MAX_FILES:
        yield CompositionError(
            "path.too_many",
            f"The upload has {len(names):,} files; at most {MAX_FILES:,} are allowed.",
            count=len(names),
        )
        return
    seen: dict[str, str] = {}
    for name in names:
        try:
            check_path(name)
        except CompositionError as problem:
            yield problem
            continue
        other = seen.setdefault(_folded(name), name)
        if other is not name:
            yield CompositionError(
                "path.collision",
                f"{shorten(other)} and {shorten(name)} are one file where letter case does not count. Rename one.",
                files=[other, name],
            )
    folders: dict[str, str] = {}
    for name in seen.values():
        parts = name.split("/")
        for depth in range(1, len(parts)):
            folder = "/".join(parts[:depth])
            clash = seen.get(_folded(folder))
            if clash is not None:
                yield CompositionError(
                    "path.clash",
                    f"{shorten(clash)} is a file, and {shorten(name)} needs a folder of that name. Rename one.",
                    files=[clash, name],
                )
            other = folders.setdefault(_folded(folder), folder)
            if other != folder:
                yield CompositionError(
                    "path.collision",
                    f"The folders {shorten(other)} and {shorten(folder)} are one where letter case does not count. "
                    "Rename one.",
                    files=[other, name],
                )


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", name).casefold())


def _path(code: str, name: object, problem: str, do: str) -> CompositionError:
    return CompositionError(f"path.{code}", f"The file name {shorten(name)} {problem}. {do}", file=str(name)[:MAX_PATH])


def extension(path: str) -> str:
    """The last extension in lower case, with its dot; empty where there is none."""
    stem, dot, ending = path.rpartition("/")[2].rpartition(".")
    return f".{ending.lower()}" if dot and stem else ""


def sniff(
    path: str,
    first_bytes: bytes,
    last_bytes: bytes = b"",
    *,
    size: int | None = None,
    beside: Collection[str] = (),
) -> None:
    """Judge a file by extension and bytes: `first_bytes` up to `SNIFF_BYTES`, `last_bytes` the last few if known.

    `beside` are the paths of the whole upload, for the advice. Raises CompositionError `content.*` with the fact
    `file`.
    """
    ending = extension(path)
    disguise = unmask(ending, first_bytes, size)
    if disguise:
        raise _content(disguise.code, path, disguise.problem, disguise.do, **disguise.facts)
    _check_magic(path, ending, first_bytes, last_bytes, beside, size)
    _check_extension(path, ending, beside)
    limit = MAX_IMAGE if ending in IMAGES else MAX_DOCUMENT if ending in DOCUMENTS - {".jsonl"} else None
    if size is not None and limit is not None and size > limit:
        raise _content("too_large", path, f"has {size:,} bytes; at most {limit:,} are allowed", "Make it smaller.")
    if ending == ".gguf" and first_bytes and not first_bytes.startswith(b"GGUF"):
        raise _content("mismatch", path, "is no GGUF file", "Save it as what its name says.")


def refuse_pickle(path: str, first: bytes, *, size: int | None, beside: Collection[str] = ()) -> None:
    """Refuse a file that begins as a pickle does. Raises CompositionError `content.pickle`."""
    ending = extension(path)
    if _not_a_header(ending, first) and reads_as_pickle(first, size=size, likely=ending in PICKLES):
        raise _pickle(path, "it is a pickle by its first bytes, and loading a pickle runs the code in it", beside)


def _check_extension(path: str, ending: str, beside: Collection[str]) -> None:
    if path == LOADER_FILE:  # `check_loader` looks at that as a whole
        return
    if ending in PICKLES and is_torch_weights(path):
        raise _pickle(
            path, f"{ending} files of this name are pickles, and loading a pickle runs the code in it", beside
        )
    if ending in ARCHIVES:
        raise _content("archive", path, "is an archive, and archives are never unpacked here", "Push the files in it.")
    if ending in CODE:
        raise _content("code", path, "is program code, and adapters carry none", "Leave it out.")
    if ending in ACTIVE:
        raise _content("active", path, "is a page that browsers run", "Use Markdown and PNG instead.")


def _check_magic(path: str, ending: str, first: bytes, last: bytes, beside: Collection[str], size: int | None) -> None:
    refuse_pickle(path, first, size=size, beside=beside)
    if first.startswith((b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")):
        if ending in PICKLES:
            problem = "PyTorch's .bin and .pt files are zipped pickles, and loading one runs the code in it"
            raise _pickle(path, problem, beside)
        raise _content("zip", path, "is a ZIP archive by its first bytes (or a renamed .pt)", zip_advice(path))
    # A ZIP is read from its end: a directory there makes any file a ZIP as well.
    if b"PK\x05\x06" in last[-64 * 1024 :] and b"PK\x01\x02" in last and ending != ".safetensors":
        raise _content("zip", path, "ends as a ZIP archive", "Push the plain file.")
    if ending == ".safetensors" and _is_header(first):
        return
    for magic, word in _ARCHIVE_MAGIC.items():
        if first.startswith(magic):
            raise _content("archive", path, f"is a {word} archive by its first bytes", "Push the files in it instead.")
    if first[257:262] == b"ustar":
        raise _content("archive", path, "is a tar archive by its bytes", "Push the files in it instead.")
    for magic, word in _EXECUTABLE_MAGIC.items():
        if first.startswith(magic):
            raise _content("executable", path, f"is {word} by its first bytes", "Leave it out.")
    # Markdown may hold HTML: cards are cleaned before they are shown.
    text = first.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if ending not in (".md", ".jinja") and text.startswith(_ACTIVE_STARTS):
        raise _content("active", path, "is HTML, SVG or XML by its first bytes", "Use Markdown and PNG instead.")


def _is_header(first: bytes) -> bool:
    """A length below 16 MiB and then `{`: how safetensors begin. The length's bytes may look like any magic."""
    return len(first) > 8 and first[4:8] == b"\x00\x00\x00\x00" and first[3:4] <= b"\x01" and first[8:9] == b"{"


def _not_a_header(ending: str, first: bytes) -> bool:
    return not (ending == ".safetensors" and _is_header(first))


def _pickle(path: str, problem: str, beside: Collection[str]) -> CompositionError:
    do, facts = pickle_advice(path, beside)
    return _content("pickle", path, f"is refused: {problem}", do, **facts)


def _content(code: str, path: str, problem: str, do: str, **facts: object) -> CompositionError:
    return CompositionError(f"content.{code}", f"{shorten(path)} {problem}. {do}", file=path, **facts)
