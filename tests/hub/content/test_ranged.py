"""A stream of an object in S3: the same bytes as a file's, and no more of them asked for than are read."""

import io

import pytest
from botocore.exceptions import EndpointConnectionError, HTTPClientError, ReadTimeoutError
from hypothesis import given, settings
from hypothesis import strategies as st

from hub.storage import blobs, ranged
from hub.storage.ranged import RangedStream

DATA = bytes(range(256)) * 40
MOVES = st.lists(
    st.one_of(
        st.tuples(st.just("read"), st.integers(-1, 3000)),
        st.tuples(st.just("seek"), st.integers(0, len(DATA) + 50)),
    ),
    max_size=12,
)


class Body(io.BytesIO):
    """An answer's bytes, which may break off after some of them."""

    def __init__(self, data: bytes, breaks_at: int | None) -> None:
        super().__init__(data)
        self.breaks_at = breaks_at

    def read(self, size=-1):
        if self.breaks_at is not None and self.tell() >= self.breaks_at:
            raise ReadTimeoutError(endpoint_url="http://s3")
        return super().read(size if self.breaks_at is None else min(size, self.breaks_at - self.tell()))


class Object:
    """An object that counts what is asked of it. `breaks` says after how many bytes each answer's body breaks off."""

    def __init__(self, data: bytes, breaks=()) -> None:
        self.data, self.asked, self.breaks = data, [], list(breaks)

    def fetch(self, start: int, stop: int) -> dict:
        stop = min(stop, len(self.data))
        self.asked.append((start, stop))
        breaks_at = self.breaks.pop(0) if self.breaks else None
        return {
            "Body": Body(self.data[start:stop], breaks_at),
            "ContentRange": f"bytes {start}-{stop - 1}/{len(self.data)}",
        }

    def open(self) -> RangedStream:
        return RangedStream("it", self.fetch)

    @property
    def bytes_asked(self) -> int:
        return sum(stop - start for start, stop in self.asked)


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Windows small enough for small data, and no pauses."""
    for name, value in {"HEAD": 64, "SMALLEST": 256, "LARGEST": 2048, "NEAR": 32, "PAUSE_SECONDS": 0}.items():
        monkeypatch.setattr(ranged, name, value)


@given(moves=MOVES, breaks=st.lists(st.integers(1, 500), max_size=2))
@settings(max_examples=150)
def test_it_reads_as_a_file_of_the_same_bytes_does(moves, breaks):
    """Also where answers break off in their middle."""
    there, expected = Object(DATA), io.BytesIO(DATA)
    with there.open() as stream:
        there.breaks = list(breaks)
        for verb, number in moves:
            if verb == "seek":
                assert stream.seek(number) == expected.seek(number)
            else:
                assert stream.read(number) == expected.read(number)
            assert stream.tell() == expected.tell()


def test_a_file_read_to_its_end_is_asked_for_once_in_growing_windows():
    there = Object(DATA)
    with there.open() as stream:
        while stream.read(100):
            pass
    assert there.bytes_asked == len(DATA)
    sizes = [stop - start for start, stop in there.asked]
    assert sizes[:5] == [64, 256, 512, 1024, 2048] and max(sizes) == 2048


def test_the_head_is_asked_for_once_however_often_it_is_read():
    there = Object(DATA)
    with there.open() as stream:
        for _ in range(5):
            stream.seek(0)
            assert stream.read(64) == DATA[:64]
    assert there.asked == [(0, 64)]


def test_a_jump_asks_for_little_and_a_large_read_for_itself():
    there = Object(DATA)
    with there.open() as stream:
        stream.seek(5000)
        assert stream.read(10) == DATA[5000:5010]
        stream.seek(9000)
        assert stream.read(1000) == DATA[9000:10000]
    assert there.asked == [(0, 64), (5000, 5256), (9000, 10000)]


def test_a_small_step_ahead_is_read_over_in_the_same_answer():
    there = Object(DATA)
    with there.open() as stream:
        stream.seek(5000)
        stream.read(10)
        stream.seek(5030)
        assert stream.read(10) == DATA[5030:5040]
    assert len(there.asked) == 2


def test_nothing_is_asked_for_past_the_end():
    with Object(DATA).open() as stream:
        assert stream.seek(0, io.SEEK_END) == len(DATA)
        assert stream.read(10) == b"" == stream.read()


def test_a_store_that_stays_away_is_an_error_after_a_few_tries():
    there = Object(DATA)
    with there.open() as stream:
        there.breaks = [0] * 10
        stream.seek(1000)
        with pytest.raises(HTTPClientError, match="Read timeout") as raised:
            stream.read(10)
    assert len(there.asked) == 1 + ranged.TRIES
    assert not isinstance(raised.value, OSError), "It would be taken for a damaged file."
    there.breaks = [0] * 10
    with pytest.raises(HTTPClientError) as raised:
        there.open()
    assert not isinstance(raised.value, OSError)


def test_a_try_that_brings_bytes_is_no_failure():
    there = Object(DATA)
    with there.open() as stream:
        there.breaks = [10] * 50
        stream.seek(1000)
        assert stream.read(200) == DATA[1000:1200]


def test_what_can_not_be_asked_for_is_not_asked_again():
    def refuse(start, stop):
        raise EndpointConnectionError(endpoint_url="http://s3")

    with pytest.raises(EndpointConnectionError):
        RangedStream("it", refuse)


def test_a_closed_stream_is_not_read():
    stream = Object(DATA).open()
    stream.close()
    with pytest.raises(ValueError, match="closed"):
        stream.read(1)


def test_lines_are_not_read_byte_by_byte(bucket, monkeypatch):
    """Data sets are read line by line: each byte through the network's layers would take minutes for 20 MB."""
    lines = [b"%d " % number * 20 + b"\n" for number in range(20_000)]
    sha256, _ = blobs.put(io.BytesIO(b"".join(lines)))
    reads = []
    some = ranged.RangedStream._some
    monkeypatch.setattr(ranged.RangedStream, "_some", lambda self, wanted: reads.append(wanted) or some(self, wanted))
    with blobs.open(sha256) as stream:
        assert list(iter(lambda: stream.readline(1 << 20), b"")) == lines
    assert len(reads) < len(lines)
