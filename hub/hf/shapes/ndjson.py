"""The body of a commit: lines of JSON, one an operation, with the bytes of small files in them as base64.

    {"key": "header", "value": {"summary": …, "description": …, "parentCommit": …}}
    {"key": "file", "value": {"content": base64, "path": …, "encoding": "base64"}}
    {"key": "lfsFile", "value": {"path": …, "algo": "sha256", "oid": …, "size": …}}
    {"key": "deletedFile", "value": {"path": …}}    {"key": "deletedFolder", …}

A line may be longer than memory should hold: its base64 is decoded as it comes, and the rest of the line is read as
JSON with a mark in its place. The mark tells whether it was the value's content that was taken out.
"""

import base64
import binascii
import io
import re
import secrets
from collections.abc import Callable
from typing import BinaryIO

from rest_framework import exceptions

from hub.http.bodies import JSONParser
from hub.services.commits.operations import MAX_OPERATIONS, Delete, Operation, Proposal, Put
from hub.services.content.manifest import Entry
from hub.storage import DIGEST

BLOCK = 1 << 18
SHORT = 1 << 18
"""A line of at most this many bytes is read as it is."""
MAX_BODY_LINES = MAX_OPERATIONS + 1
_CONTENT = re.compile(rb'(?<!\\)"content"\s*:\s*"')
PARENT = re.compile(r"[0-9a-fA-F]{5,40}")

Keep = Callable[[BinaryIO], Entry]
"""Stores the bytes of a file until the commit is made."""


def read_commit(body: BinaryIO, keep: Keep) -> Proposal:
    """The commit that the body asks for; `keep` is given each file's bytes. Errors: ParseError (400), what keep raises.

    Nothing is left out silently: a line of another kind is refused.
    """
    lines = _Lines(body)
    header: dict | None = None
    operations: list[Operation] = []
    for number in range(1, MAX_BODY_LINES + 2):
        if (line := lines.next(keep)) is None:
            break
        if number > MAX_BODY_LINES:
            raise exceptions.ParseError(f"A commit has at most {MAX_OPERATIONS:,} operations; make several commits.")
        data, content = line
        if not data.strip():
            continue
        key, value = _line(data, number)
        if key == "header":
            if header is not None:
                raise _bad(number, "is a second header")
            header = value
        else:
            operations.append(_operation(key, value, content, keep, number))
    if header is None:
        raise exceptions.ParseError('The commit has no header: send {"key": "header", "value": {"summary": …}} first.')
    return _proposal(header, operations)


def _proposal(header: dict, operations: list[Operation]) -> Proposal:
    parent = header.get("parentCommit")
    if parent is not None and not (isinstance(parent, str) and PARENT.fullmatch(parent)):
        raise exceptions.ParseError("parentCommit is the id of a commit, or its first 5 to 40 hex digits.")
    said = {name: header.get(name) or "" for name in ("summary", "description")}
    if not all(isinstance(text, str) for text in said.values()):
        raise exceptions.ParseError("The header's summary and description are texts.")
    return Proposal(**said, parent=parent, operations=tuple(operations))


def _line(data: bytes, number: int) -> tuple[str, dict]:
    try:
        line = JSONParser().parse(io.BytesIO(data))
    except exceptions.ParseError as error:
        raise _bad(number, f"is not a line of a commit ({error.detail})") from error
    key, value = (line.get("key"), line.get("value")) if isinstance(line, dict) else (None, None)
    if not isinstance(key, str) or not isinstance(value, dict):
        raise _bad(number, 'is not {"key": …, "value": {…}}')
    return key, value


def _operation(key: str, value: dict, content: "_Content | None", keep: Keep, number: int) -> Operation:
    path = value.get("path")
    if not isinstance(path, str):
        raise _bad(number, "has no path")
    if content is not None and (key != "file" or value.get("content") != content.mark):
        raise _bad(number, f"is longer than {SHORT:,} bytes and no file with its content in base64")
    if key == "file":
        return _file(path, value, content, keep, number)
    if key == "lfsFile":
        return _lfs_file(path, value, number)
    if key in ("deletedFile", "deletedFolder", "deletedEntry"):
        return Delete(path=path, folder=key == "deletedFolder")
    raise _bad(number, f"has the key {key[:40]!r}, which this hub doesn't know")


def _file(path: str, value: dict, content: "_Content | None", keep: Keep, number: int) -> Put:
    encoding, text = value.get("encoding", "base64"), value.get("content")
    if encoding not in ("base64", "utf-8") or not isinstance(text, str):
        raise _bad(number, "needs its content as text, in the encoding base64 or utf-8")
    if content is not None:
        if encoding != "base64":
            raise _bad(number, f"is longer than {SHORT:,} bytes; send its content in base64")
        entry = content.entry
    elif encoding == "utf-8":
        entry = keep(io.BytesIO(text.encode()))
    else:
        try:
            entry = keep(io.BytesIO(base64.b64decode(text.encode(), validate=True)))
        except (binascii.Error, UnicodeEncodeError) as error:
            raise _bad(number, f"has a content that is not base64 ({error})") from error
    return Put(path=path, sha256=entry.sha256, size=entry.size)


def _lfs_file(path: str, value: dict, number: int) -> Put:
    oid, size = value.get("oid"), value.get("size")
    if value.get("algo", "sha256") != "sha256" or not isinstance(oid, str) or not DIGEST.fullmatch(oid):
        raise _bad(number, "needs algo sha256 and an oid of 64 lower-case hex digits")
    if size is not None and (not isinstance(size, int) or isinstance(size, bool) or size < 0):
        raise _bad(number, "has a size that is no number of bytes")
    return Put(path=path, sha256=oid, size=size)


def _bad(number: int, problem: str) -> exceptions.ParseError:
    return exceptions.ParseError(f"Line {number} of the commit {problem}.")


class _Content:
    """A content that was taken out of its line: what it was, and the mark in its place."""

    def __init__(self, entry: Entry, mark: str) -> None:
        self.entry, self.mark = entry, mark


class _Lines:
    """The lines of a body, each with the long content taken out of it."""

    def __init__(self, body: BinaryIO) -> None:
        self.body, self.buffer, self.ended = body, b"", False

    def next(self, keep: Keep) -> tuple[bytes, _Content | None] | None:
        """The next line; None at the end."""
        line = self._to(b"\n", SHORT)
        if line is not None:
            return line, None
        if self.ended and len(self.buffer) <= SHORT:
            line, self.buffer = self.buffer, b""
            return (line, None) if line else None
        found = _CONTENT.search(self.buffer, 0, SHORT)
        if found is None:
            raise exceptions.ParseError(f"A line of the commit is longer than {SHORT:,} bytes and holds no content.")
        before, self.buffer = self.buffer[: found.end()], self.buffer[found.end() :]
        mark = secrets.token_hex(16)
        entry = keep(_Base64(self))  # type: ignore[arg-type]
        after = self._to(b"\n", SHORT)
        if after is None:
            if not self.ended or len(self.buffer) > SHORT:
                raise exceptions.ParseError(f"A line of the commit has more than {SHORT:,} bytes beside its content.")
            after, self.buffer = self.buffer, b""
        return before + mark.encode() + after, _Content(entry, mark)

    def more(self) -> bool:
        """Read the next bytes; False at the end."""
        data = self.body.read(BLOCK)
        self.ended = self.ended or not data
        self.buffer += data
        return bool(data)

    def _to(self, end: bytes, most: int) -> bytes | None:
        """What stands before the next `end`, which is dropped; None where there is none within `most` bytes."""
        while (at := self.buffer.find(end, 0, most + 1)) < 0:
            if len(self.buffer) > most or self.ended or not self.more():
                return None
        line, self.buffer = self.buffer[:at], self.buffer[at + 1 :]
        return line


class _Base64:
    """Reads the bytes of a JSON string of base64, up to its closing quote, which stays for the rest of the line."""

    def __init__(self, lines: _Lines) -> None:
        self.lines, self.left, self.over, self.padded = lines, b"", False, False

    def read(self, size: int = -1) -> bytes:
        """The next bytes, about `size` of them; b"" at the end."""
        data = b""
        while not data and not self.over:
            data = self._some()
        return data

    def _some(self) -> bytes:
        lines = self.lines
        if not lines.buffer and not lines.more():
            raise exceptions.ParseError("The commit ends within a file's content. Send it again.")
        at = lines.buffer.find(b'"')
        text, lines.buffer = (lines.buffer, b"") if at < 0 else (lines.buffer[:at], lines.buffer[at:])
        self.over = at >= 0
        text = self.left + text
        if not self.over and text.endswith(b"\\"):
            text, lines.buffer = text[:-1], b"\\"
            if not lines.more():
                raise exceptions.ParseError("The commit ends within a file's content. Send it again.")
        text = text.replace(b"\\/", b"/")
        cut = len(text) if self.over else len(text) // 4 * 4
        text, self.left = text[:cut], text[cut:]
        if text and self.padded:
            raise exceptions.ParseError("A file's content is not base64: something follows its end.")
        self.padded = text.endswith(b"=")
        try:
            return binascii.a2b_base64(text, strict_mode=True)
        except binascii.Error as error:
            raise exceptions.ParseError(f"A file's content is not base64 ({error}).") from error
