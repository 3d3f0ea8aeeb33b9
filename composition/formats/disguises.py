"""What a file is that bears another's name: what people push as weights when a download or a clone went wrong.

Git LFS pointers, web pages, the error answers of servers, images, archives. Judged by the first bytes and the size;
nothing is unpacked, run or fetched.
"""

import json
import re
from typing import NamedTuple

from composition.formats.strict_json import shorten

WEIGHTS = frozenset({".safetensors", ".gguf"})
NEVER_TEXT = WEIGHTS
NEVER_PAGES = (
    WEIGHTS | {".png", ".jpg", ".jpeg", ".gif", ".webp"} | {".model", ".json", ".jsonl", ".csv", ".yaml", ".yml"}
)
"""Markdown, plain text and templates may hold HTML."""
POINTER_BYTES = 1024
"""A Git LFS pointer is shorter than this (its specification)."""

_POINTER = re.compile(rb"version https?://(?:git-lfs|hawser)\.github\.com/spec/\S+\s")
_POINTER_SIZE = re.compile(rb"^size (\d{1,18})\s*$", re.MULTILINE)
_ANNEX = re.compile(rb"(?:\.\./)*(?:\.git)?/?annex/objects/\S+\s*")
_COMMENTS = re.compile(rb"(?:\s|<!--.*?-->|<\?xml[^>]*\?>)*", re.DOTALL)
_PAGE = re.compile(rb"<(?:!doctype html|html|head|body|title|meta|script|iframe)\b", re.IGNORECASE)
_TITLE = re.compile(rb"<title[^>]*>\s*([^<]{1,200})", re.IGNORECASE)
_XML_ANSWER = re.compile(rb"<(?:Error|ErrorResponse|Message)\b")
_XML_PARTS = re.compile(rb"<(Code|Message)>([^<]{1,300})")
_ANSWER_KEYS = frozenset(
    """
    cause code detail details documentation_url error error_code error_description error_message errors message path
    requestId request_id status statusCode status_code success timestamp title trace_id type
    """.split()
)
_SAID = ("error_description", "error_message", "message", "detail", "error", "errors")

_MAGIC = {
    b"\x89PNG\r\n\x1a\n": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"GIF87a": "a GIF image",
    b"GIF89a": "a GIF image",
    b"%PDF-": "a PDF document",
    b"\x93NUMPY": "a NumPy array",
    b"\x89HDF\r\n\x1a\n": "an HDF5 file (Keras or TensorFlow)",
    b"GGUF": "a GGUF file",
    b"lmgg": "a GGML file of an old llama.cpp",
    b"ggjt": "a GGML file of an old llama.cpp",
    b"tjgg": "a GGML file of an old llama.cpp",
    b"PAR1": "a Parquet table",
    b"ARROW1": "an Arrow table",
    b"OggS": "an Ogg recording",
    b"SQLite format 3\x00": "an SQLite database",
}
_AGAIN = "Download it again, signed in as somebody who may read it, and look at its size before you push."
_ENDING_OF = {"a GGUF file": ".gguf"}


class Disguise(NamedTuple):
    """The code's last part, what the file is, what to do, and facts for programs."""

    code: str
    problem: str
    do: str
    facts: dict[str, object]


def unmask(ending: str, first: bytes, size: int | None) -> Disguise | None:
    """What a file of this ending really is; None where nothing speaks against its name.

    `first` are its first bytes, empty where they are not known yet; `size` is the file's, where it is known.
    """
    if ending in WEIGHTS and size == 0:
        return Disguise("empty", "is empty (0 bytes)", "Save or download it again; was the disk full?", {})
    text = first.removeprefix(b"\xef\xbb\xbf").lstrip()
    return _pointer(text, size) or _page(ending, text) or _magic(ending, first) or _answer(ending, first, text, size)


def _pointer(text: bytes, size: int | None) -> Disguise | None:
    if size is not None and size > POINTER_BYTES:
        return None
    if _POINTER.match(text):
        there = _POINTER_SIZE.search(text)
        stands = f" for a file of {int(there[1]):,} bytes" if there else ""
        do = (
            "In the clone, run `git lfs install` and `git lfs pull`, and push again; an archive that a web page makes "
            "of a repository holds pointers only."
        )
        facts = {"command": "git lfs pull", **({"stands_for": int(there[1])} if there else {})}
        return Disguise("lfs_pointer", f"is a Git LFS pointer{stands}, not the file itself", do, facts)
    if _ANNEX.fullmatch(text):
        do = "In the clone, run `git annex get .` and push again."
        return Disguise(
            "lfs_pointer", "is a git-annex pointer, not the file itself", do, {"command": "git annex get ."}
        )
    return None


def _page(ending: str, text: bytes) -> Disguise | None:
    """HTML where none belongs; what is named a page is refused as one elsewhere."""
    if ending not in NEVER_PAGES:
        return None
    if not _PAGE.match(text, _COMMENTS.match(text).end()):  # type: ignore[union-attr]
        return None
    title = _TITLE.search(text)
    named = f", titled {_quoted(title[1])}" if title else ""
    return Disguise("web_page", f"is a web page (HTML){named}, saved in the place of the file", _AGAIN, {})


def _answer(ending: str, first: bytes, text: bytes, size: int | None) -> Disguise | None:
    """What a server says instead of the file: JSON, XML (S3), or a line such as "Entry not found"."""
    begin = _COMMENTS.match(text).end()  # type: ignore[union-attr]
    if ending in NEVER_TEXT | {".json", ".model"} and _XML_ANSWER.match(text, begin):
        parts = [_quoted(value) for _, value in _XML_PARTS.findall(text)]
        return _said(f"in XML: {', '.join(parts)}" if parts else "in XML")
    whole = size is None or size <= len(first)
    said = _json_answer(text, strict=ending == ".json") if whole else None
    if said is not None and ending in NEVER_TEXT | {".json", ".model"}:
        return _said(f"in JSON: {said}")
    if ending in NEVER_TEXT and _is_text(first):
        if text[:1] in (b"{", b"["):
            problem = "is JSON text, not what its name says"
        elif whole and len(text) < 500:
            return _said(f"as text: {_quoted(text)}")
        else:
            problem = f"is text, not what its name says; it begins {_quoted(text[:60])}"
        return Disguise("mismatch", problem, "Save or download the file again.", {})
    return None


def _said(what: str) -> Disguise:
    return Disguise("answer", f"is a server's answer {what}", f"It was saved in the place of the file. {_AGAIN}", {})


def _json_answer(text: bytes, *, strict: bool) -> str | None:
    """What a JSON error says; with `strict`, only where the object is nothing but an error."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict) or not {"error", "errors", "message", "detail"} & value.keys():
        return None
    if strict and not ({"error", "errors", "detail"} & value.keys() and value.keys() <= _ANSWER_KEYS):
        return None
    return shorten(next((value[key] for key in _SAID if value.get(key) is not None), value), 120)


def _magic(ending: str, first: bytes) -> Disguise | None:
    if ending not in WEIGHTS:
        return None
    for magic, what in _MAGIC.items():
        if first.startswith(magic) and _ENDING_OF.get(what) != ending:
            return Disguise("mismatch", f"is {what} by its first bytes", "Push the weights themselves.", {})
    if first[:4] == b"RIFF" and first[8:12] == b"WEBP":
        return Disguise("mismatch", "is a WebP image by its first bytes", "Push the weights themselves.", {})
    if len(first) >= 64 and not first.strip(b"\0"):
        do = "Save or download it again: room was reserved for it and never filled."
        return Disguise("mismatch", "begins with zero bytes only", do, {})
    return None


def _is_text(first: bytes) -> bool:
    """Whether the bytes are readable text: weights hold zero bytes in their first eight."""
    if not first.strip():
        return False
    try:
        text = first.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(first) - 4:  # a character may be cut at the end
            return False
        text = first[: error.start].decode("utf-8")
    return bool(text) and all(character.isprintable() or character in "\r\n\t\ufeff" for character in text)


def _quoted(value: bytes) -> str:
    return shorten(" ".join(value.decode("utf-8", "replace").split()), 120)
