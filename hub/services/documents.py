"""Documents that people hand in, as text: plain text and Markdown as they are, PDF through its text layer.

What comes out is what is kept and hashed: UTF-8, line ends as \\n. No tokenizer is at hand here, so tokens are told
roughly, four bytes each; the worker counts them.
"""

import io
import logging
import math
import time
from dataclasses import dataclass

from hub.errors import Invalid

MOST_BYTES = 20_000_000
MOST_TEXT = 4_000_000
MOST_PAGES = 2_000
MOST_SECONDS = 20.0
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

log = logging.getLogger(__name__)


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

    def chunks(self, window: int) -> list[str]:
        """About where it will be cut: equal parts, none of more than `window` tokens."""
        count = max(1, math.ceil(self.tokens / window))
        width = math.ceil(len(self.text) / count)
        return [self.text[begin : begin + width] for begin in range(0, len(self.text), width)]


def read_document(name: str, data: bytes) -> Document:
    """The text of a file. Raises Invalid `document.*` for what is none: empty, binary, not UTF-8, a scan."""
    short = name.replace("\\", "/").rpartition("/")[2].strip()[:120] or "text.txt"
    name = "".join(char if char.isprintable() and char not in "<>" else "_" for char in short)
    if not data.strip():
        raise _refused("empty", f"{name} is empty. Give the document that the adapter should know.", name)
    if len(data) > MOST_BYTES:
        raise _refused("too_large", f"{name} has {len(data):,} bytes; at most {MOST_BYTES:,} are read.", name)
    if data[:1024].lstrip().startswith(b"%PDF-"):
        text, pages = _pdf(name, data)
        return Document(name=name, text=_bounded(name, text), pages=pages)
    return Document(name=name, text=_bounded(name, _plain(name, data)))


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
            "or no text. Save it as UTF-8 and give it again.",
            name,
        ) from None


def _bounded(name: str, text: str) -> str:
    text = text.replace("\r\n", "\n").replace("\r", "\n").encode("utf-8", "ignore").decode()
    if not text.strip():
        raise _refused("empty", f"{name} holds no text. Give the document that the adapter should know.", name)
    if len(text) > MOST_TEXT:
        raise _refused("too_large", f"{name} has {len(text):,} characters; at most {MOST_TEXT:,} are read.", name)
    return text


def _pdf(name: str, data: bytes) -> tuple[str, int]:
    """(text, pages) of a PDF. Broken files fail in every way there is, so whatever its reader raises is a refusal."""
    from pypdf import PdfReader

    try:
        reader = PdfReader(io.BytesIO(data))
        locked = reader.is_encrypted and not reader.decrypt("")
        count = 0 if locked else len(reader.pages)
    except Exception as error:
        log.info("a PDF can't be read: %r", error)
        raise _refused(
            "pdf", f"{name} is a PDF that can't be read: it is damaged. Give its text instead.", name
        ) from None
    if locked:
        raise _refused("pdf", f"{name} is locked by a password. Take it off, or give its text instead.", name)
    if count > MOST_PAGES:
        raise _refused("too_large", f"{name} has {count:,} pages; at most {MOST_PAGES:,} are read.", name)
    parts, end, length = [], time.monotonic() + MOST_SECONDS, 0
    for number in range(count):
        try:
            parts.append(reader.pages[number].extract_text())
        except Exception as error:
            log.info("page %s of a PDF can't be read: %r", number + 1, error)
            raise _refused("pdf", f"{name}: page {number + 1} can't be read. Give its text instead.", name) from None
        length += len(parts[-1])
        if time.monotonic() > end or length > MOST_TEXT:
            raise _refused("too_large", f"{name} is too long to be read here. Give its text instead.", name)
    text = "\n\n".join(part.strip() for part in parts if part.strip()).replace("\0", "")
    if not text.strip():
        raise _refused(
            "scan",
            f"{name} has {count} page{'s' if count != 1 else ''} and no text: it is a scan. Run text recognition (OCR) "
            "over it first.",
            name,
        )
    return text, count


def _refused(code: str, message: str, name: str) -> Invalid:
    return Invalid(message, code=f"document.{code}", field="files", file=name)
