"""The body of a commit is read as it was written, in flat memory, however it is cut; nothing else is read from it."""

import base64
import hashlib
import io
import json
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rest_framework.exceptions import ParseError

from hub.hf.shapes import ndjson
from hub.hf.shapes.ndjson import read_commit
from hub.services.commits.operations import Delete, Put
from hub.services.content.manifest import Entry
from tests.hub.hf.wire import body, delete, lfs, put

OID = "ab" * 32


class Kept(dict):
    """Bytes by their digest, as `keep` would store them."""

    def __call__(self, stream) -> Entry:
        parts = []
        while data := stream.read(1 << 16):
            parts.append(data)
        whole = b"".join(parts)
        sha256 = hashlib.sha256(whole).hexdigest()
        self[sha256] = whole
        return Entry(sha256, len(whole))


class Dribble(io.RawIOBase):
    """A stream that gives at most `most` bytes at a time."""

    def __init__(self, data: bytes, most: int) -> None:
        self.data, self.most = io.BytesIO(data), most

    def read(self, size: int = -1) -> bytes:
        return self.data.read(min(self.most, size) if size >= 0 else self.most)


PATHS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=30)
LINES = st.lists(
    st.one_of(
        st.tuples(st.just("put"), PATHS, st.binary(max_size=200)),
        st.tuples(st.just("put"), PATHS, st.integers(0, 5000).map(lambda n: bytes(range(256)) * (n // 8))),
        st.tuples(st.just("lfs"), PATHS, st.none() | st.integers(0, 2**50)),
        st.tuples(st.just("delete"), PATHS, st.booleans()),
    ),
    max_size=6,
)


@settings(max_examples=150, deadline=None)
@given(LINES, PATHS, st.integers(1, 9000), st.booleans())
def test_every_operation_comes_out_as_it_went_in(lines, summary, most, spaced):
    written, expected = [], []
    for what, path, value in lines:
        if what == "put":
            written.append(put(path, value))
            expected.append(Put(path=path, sha256=hashlib.sha256(value).hexdigest(), size=len(value)))
        elif what == "lfs":
            written.append(lfs(path, OID, value))
            expected.append(Put(path=path, sha256=OID, size=value))
        else:
            written.append(delete(path, folder=value))
            expected.append(Delete(path=path, folder=value))
    data = body(*written, summary=summary)
    if not spaced:
        data = b"".join(
            json.dumps(json.loads(line), separators=(",", ":"), ensure_ascii=False).encode() + b"\n"
            for line in data.splitlines()
        )
    kept = Kept()
    short, ndjson.SHORT = ndjson.SHORT, 2000  # so that lines of both kinds come
    try:
        proposal = read_commit(Dribble(data, most), kept)
    finally:
        ndjson.SHORT = short
    assert list(proposal.operations) == expected
    assert (proposal.summary, proposal.parent) == (summary, None)
    assert all(hashlib.sha256(value).hexdigest() == sha256 for sha256, value in kept.items())


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_changed_body_is_read_or_refused_and_nothing_else_happens(data):
    whole = bytearray(body(put("a.bin", bytes(range(256)) * 20), lfs("b", OID), delete("c")))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(whole) - 1))
        whole[at : at + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=4))
    short, ndjson.SHORT = ndjson.SHORT, 1000
    try:
        proposal = read_commit(Dribble(bytes(whole), 700), Kept())
    except ParseError as error:
        assert str(error.detail)
    else:
        assert all(isinstance(operation, Put | Delete) for operation in proposal.operations)
    finally:
        ndjson.SHORT = short


LONG = base64.b64encode(bytes(ndjson.SHORT)).decode()


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ({"key": "file", "value": {"path": "a", "x": {"content": LONG}}}, "no file with its content"),
        ({"key": "lfsFile", "value": {"path": "a", "content": LONG, "oid": OID}}, "no file with its content"),
        ({"key": "file", "value": {"path": "a" * ndjson.SHORT, "encoding": "base64"}}, "holds no content"),
        ({"key": "file", "value": {"path": 'x"content": "' + LONG}}, "holds no content"),
        ({"key": "file", "value": {"path": "a", "content": "****"}}, "not base64"),
        ({"key": "file", "value": {"path": "a", "content": LONG[:-4] + "A==="}}, "not base64"),
        ({"key": "file", "value": {"path": "a", "content": "AA==" + LONG}}, "not base64"),
        ({"key": "file", "value": {"path": "a", "content": LONG, "y": "z" * ndjson.SHORT}}, "beside its content"),
        ({"key": "lfsFile", "value": {"path": "a", "oid": "AB" * 32}}, "64 lower-case hex digits"),
        ({"key": "symlink", "value": {"path": "a"}}, "doesn't know"),
        ({"key": "header", "value": {}}, "second header"),
        ({"key": "deletedFile", "value": {}}, "no path"),
        ([1], "is not"),
    ],
)
def test_what_is_no_line_of_a_commit_is_refused(line, problem):
    with pytest.raises(ParseError, match=problem):
        read_commit(io.BytesIO(body(line)), Kept())


@pytest.mark.parametrize("data", [b"", b"\n\n", b"{}", b'{"key": "file"}\n', b'{"key":"header","value":{"summary":1}}'])
def test_a_body_without_a_header_is_refused(data):
    with pytest.raises(ParseError):
        read_commit(io.BytesIO(data), Kept())


def test_memory_is_flat_in_the_size_of_a_file():
    class Zeros(io.RawIOBase):
        """A commit of one file of 48 MB, made as it is read."""

        def __init__(self) -> None:
            begin, end = body(put("big.bin", b"")).rsplit(b'"content": "', 1)
            self.parts = [begin + b'"content": "', *([b"AAAA" * (1 << 14)] * 1024), end]

        def read(self, size: int = -1) -> bytes:
            return self.parts.pop(0) if self.parts else b""

    counted = []

    def count(stream) -> Entry:
        size = 0
        while data := stream.read(1 << 20):
            size += len(data)
        counted.append(size)
        return Entry(OID, size)

    body_of_zeros = Zeros()
    tracemalloc.start()
    try:
        read_commit(body_of_zeros, count)
        assert tracemalloc.get_traced_memory()[1] < 4_000_000
    finally:
        tracemalloc.stop()
    assert counted == [3 * (1 << 14) * 1024]
