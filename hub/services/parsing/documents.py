"""Documents that people hand in, as text: plain text and Markdown as they are, PDF through its text layer.

What comes out is what is kept and hashed: UTF-8, line ends as \\n. There is no tokenizer here, so tokens are estimated
at four bytes each; the worker counts them.
"""

import contextlib
import math
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from composition.chunking import cut
from hub.errors import Invalid
from hub.services.parsing.child import Reader, TooSlow
from hub.services.parsing.gate import Gate

MOST_BYTES = 20_000_000
MOST_TEXT = 4_000_000
MOST_PAGES = 2_000
MOST_SECONDS = 20.0  # for the PDFs of one request together
MOST_MEMORY = 1 << 30
CHILD = Path(__file__).with_name("pdf_child.py")
BYTES_A_TOKEN = 4
FORMATS = "plain text, Markdown or PDF"
# First bytes → what such a file is, and how to make a text of it.
BINARY = {
    b"PK\x03\x04": "a ZIP archive, such as a Word or OpenDocument file: save it as text or PDF first",
    b"\xd0\xcf\x11\xe0": "an old Office file: save it as text or PDF first",
    b"\x89PNG": "a picture",
    b"\xff\xd8\xff": "a picture",
    b"GIF8": "a picture",
    b"\x1f\x8b": "compressed: unpack it first",
    b"{\\rtf": "RTF: save it as text or PDF first",
}
WIDE = {
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
}
GATE = Gate("reading PDFs", at_once=2, waiting=4, patience=10.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A text under its file's name; `pages` where it was a PDF."""

    name: str
    text: str
    pages: int | None = None

    @property
    def tokens(self) -> int:
        """About how many there are."""
        return math.ceil(len(self.text.encode()) / BYTES_A_TOKEN)

    def facts(self) -> dict[str, int]:
        """{"characters", "tokens_about", "pages"}."""
        told = {"characters": len(self.text), "tokens_about": self.tokens}
        return told if self.pages is None else {**told, "pages": self.pages}

    def chunks(self, mode: str, window: int) -> list[str]:
        """About where the worker will cut it: its own rule on the estimated tokens, each as long as any other."""
        width = len(self.text) / max(1, self.tokens)
        return [self.text[round(begin * width) : round(end * width)] for begin, end in cut(self.tokens, mode, window)]


def read_documents(given: Iterable[tuple[str, bytes]]) -> Iterator[Document]:
    """The documents of one request, one after the other; its PDFs share `MOST_SECONDS`.

    Raises as `read_document`, and Busy when too many PDFs of others are being read.
    """
    left = MOST_SECONDS
    for name, data in given:
        with GATE.passed() if _is_pdf(data) else contextlib.nullcontext():
            start = time.monotonic()
            document = read_document(name, data, seconds=left)
            left -= time.monotonic() - start
        yield document


def read_document(name: str, data: bytes, *, seconds: float = MOST_SECONDS) -> Document:
    """The text of a file. Raises Invalid `document.*` if there is none: empty, binary, not UTF-8, a scan, too large."""
    short = name.replace("\\", "/").rpartition("/")[2].strip()[:120] or "text.txt"
    name = "".join(char if char.isprintable() and char not in "<>" else "_" for char in short)
    if not data.strip():
        raise _refused("empty", f"{name} is empty. Give the document that the adapter should know.", name)
    if len(data) > MOST_BYTES:
        raise _refused("too_large", f"{name} has {len(data):,} bytes; at most {MOST_BYTES:,} are read.", name)
    if _is_pdf(data):
        text, pages = _pdf(name, data, seconds)
        return Document(name=name, text=_bounded(name, text), pages=pages)
    return Document(name=name, text=_bounded(name, _plain(name, data)))


def _is_pdf(data: bytes) -> bool:
    return data[:1024].lstrip().startswith(b"%PDF-")


def _plain(name: str, data: bytes) -> str:
    for start, what in BINARY.items():
        if data.startswith(start):
            raise _refused("binary", f"{name} is {what}. Give {FORMATS}.", name)
    for start, what in WIDE.items():
        if data.startswith(start):
            raise _refused("encoding", f"{name} is {what}. Save it as UTF-8 and give it again.", name)
    if b"\0" in data:
        raise _refused("binary", f"{name} is a binary file. Give {FORMATS}.", name)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _refused(
            "encoding",
            f"{name} is not UTF-8 text (byte {error.start:,} is 0x{data[error.start]:02x}): it is in another encoding, "
            "or is not text. Save it as UTF-8 and give it again.",
            name,
        ) from None


def _bounded(name: str, text: str) -> str:
    text = text.replace("\r\n", "\n").replace("\r", "\n").encode("utf-8", "ignore").decode()
    if not text.strip():
        raise _refused("empty", f"{name} holds no text. Give the document that the adapter should know.", name)
    if len(text) > MOST_TEXT:
        raise _refused("too_large", f"{name} has {len(text):,} characters; at most {MOST_TEXT:,} are read.", name)
    return text


def _pdf(name: str, data: bytes, seconds: float) -> tuple[str, int]:
    """(text, pages) of a PDF, read in a process of its own that is killed when its time is over."""
    found = _read_pdf(name, data, seconds)
    count = found.get("pages", 0)
    match found.get("refused", ""):
        case "":
            pass
        case "locked":
            raise _refused(
                "pdf", f"{name} is protected by a password. Remove the password, or give its text instead.", name
            )
        case "pages":
            raise _refused("too_large", f"{name} has {count:,} pages; at most {MOST_PAGES:,} are read.", name)
        case "characters":
            raise _refused(
                "too_large",
                f"{name} has more than {MOST_TEXT:,} characters, the most that are read, by page {found['page']:,} of "
                f"{count:,}. Give a part of it.",
                name,
            )
        case "memory":
            raise _refused(
                "too_large",
                f"{name} needs more than {MOST_MEMORY >> 20:,} MiB of memory to be read, the most it may take. "
                "Give its text instead.",
                name,
            )
        case "page":
            raise _refused("pdf", f"{name}: page {found['page']} can't be read. Give its text instead.", name)
        case _:
            raise _refused("pdf", f"{name} is a PDF that can't be read: it is damaged. Give its text instead.", name)
    if not found["text"].strip():
        raise _refused(
            "scan",
            f"{name} has {count} page{'s' if count != 1 else ''} and no text: it is a scan. Run text recognition (OCR) "
            "over it first.",
            name,
        )
    return found["text"], count


def _read_pdf(name: str, data: bytes, seconds: float) -> dict:
    """What the reader says; Invalid when it takes longer than `seconds`."""
    reader = Reader(program=CHILD, seconds=MOST_SECONDS, memory=MOST_MEMORY)
    try:
        return reader.read(data, MOST_PAGES, MOST_TEXT, wall=seconds)
    except TooSlow:
        raise _refused(
            "too_slow",
            f"{name} ({len(data):,} bytes) can't be read within {MOST_SECONDS:.0f} seconds, the most that the PDFs of "
            "one request may take together. Give its text instead, or fewer files.",
            name,
        ) from None


def _refused(code: str, message: str, name: str) -> Invalid:
    return Invalid(message, code=f"document.{code}", field="files", file=name)
