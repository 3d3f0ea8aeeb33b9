"""A pickle of protocol 0 is one by what the unpickler written in C takes, which is more than pickletools reads."""

import pickle

import pytest

from composition.formats.pickle_streams import reads_as_pickle

CALL = b"cbuiltins\nlen\n(S'id'\ntR."
BEGINNINGS = [
    *(b"I0x10\n0", b"I0b1\n0", b"I1_0\n0", b"I007\n0", b"I1\0after a NUL\n0", b"I 1\n0", b"L0x10L\n0", b"L 1\n0"),
    *(b"F1.0\0x\n0", b"Fnan\n0", b"Np0\0x\n0", b"S'\xc3\xa9'\n0", b'S"a"\n0', b""),
]


@pytest.mark.parametrize("begin", BEGINNINGS)
def test_what_the_unpickler_runs_is_a_pickle_under_any_name(begin):
    data = begin + CALL
    assert pickle.loads(data, encoding="utf-8") == 2
    assert reads_as_pickle(data, size=len(data)) and reads_as_pickle(data + b"rest", size=1 << 20)


@pytest.mark.parametrize(
    "text", [b"I love it\n", b"Some words\n" * 50, b"Lines\nof\nplain\ntext\n" * 20, b"F is for\n" * 40]
)
def test_texts_are_none(text):
    assert not reads_as_pickle(text, size=len(text)) and not reads_as_pickle(text, size=1 << 20)
