"""The header parser against the reference writer and against bytes that no writer would write."""

import io
import json
import struct

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load, save

from composition.errors import CompositionError
from composition.formats.safetensors_header import DTYPE_BYTES, parse_header
from tests.uploads import adapter, entry, raw

QUIET = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
KINDS = ["float64", "float32", "float16", "int64", "int32", "int16", "int8", "uint8", "bool"]
NAMES = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=20)
SHAPES = st.lists(st.integers(0, 4), max_size=4).map(tuple)
GOOD = adapter()["adapter_model.safetensors"]


@QUIET
@given(st.dictionaries(NAMES, st.tuples(st.sampled_from(KINDS), SHAPES), max_size=6), st.booleans())
def test_reads_what_the_reference_writes(entries, with_metadata):
    arrays = {name: np.ones(shape, kind) for name, (kind, shape) in entries.items() if name != "__metadata__"}
    data = save(arrays, metadata={"format": "np"} if with_metadata else None)
    header = parse_header(io.BytesIO(data))
    assert set(header.tensors) == set(arrays)
    assert header.metadata == ({"format": "np"} if with_metadata else {})
    for name, tensor in header.tensors.items():
        assert tensor.shape == arrays[name].shape
        stored = data[header.data_start + tensor.begin : header.data_start + tensor.end]
        assert stored == arrays[name].tobytes()


@QUIET
@given(st.integers(0, len(GOOD) - 1), st.integers(0, 255))
def test_a_changed_byte_never_crashes_and_never_widens_what_the_reference_takes(position, value):
    data = bytearray(GOOD)
    data[position] = value
    check_as_narrow_as_the_reference(bytes(data))


@QUIET
@given(st.data())
def test_cut_grown_and_spliced_files_never_crash(data):
    start, end = data.draw(st.integers(0, len(GOOD))), data.draw(st.integers(0, len(GOOD)))
    check_as_narrow_as_the_reference(GOOD[:start] + data.draw(st.binary(max_size=40)) + GOOD[end:])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)
ENTRY = st.fixed_dictionaries(
    {"dtype": JSON | st.sampled_from(sorted(DTYPE_BYTES)), "shape": JSON | SHAPES, "data_offsets": JSON}
)


@QUIET
@given(JSON | st.dictionaries(st.text(max_size=5), ENTRY | JSON, max_size=3), st.binary(max_size=20))
def test_any_json_as_header_never_crashes(header, data):
    check_as_narrow_as_the_reference(raw(header, data))


@QUIET
@given(st.binary(max_size=200))
def test_any_bytes_never_crash(data):
    check_as_narrow_as_the_reference(data)
    check_as_narrow_as_the_reference(struct.pack("<Q", len(data)) + data)


def check_as_narrow_as_the_reference(data):
    """Either a refusal with a code and the file's name, or a header the reference reads the same way."""
    try:
        header = parse_header(io.BytesIO(data), file="w.safetensors")
    except CompositionError as error:
        assert error.code.startswith("safetensors.")
        assert error.facts["file"] == "w.safetensors"
        return
    try:
        theirs = load(data)
    except SafetensorError as error:
        pytest.fail(f"we read what the reference refuses: {error}")
    except (KeyError, TypeError):  # dtypes numpy lacks
        return
    assert {name: array.shape for name, array in theirs.items()} == {n: t.shape for n, t in header.tensors.items()}


def test_tensors_come_in_the_order_of_their_bytes():
    data = raw({"z": entry(0, 4), "a": entry(4, 8)}, b"\0" * 8)
    assert list(parse_header(io.BytesIO(data)).tensors) == ["z", "a"]


def test_trailing_spaces_of_the_writer_are_fine():
    text = json.dumps({"a": entry()}).encode() + b"   "
    assert parse_header(io.BytesIO(raw(text, b"\0" * 4))).data_start == 8 + len(text)


def test_path_size_and_streams_that_start_elsewhere(tmp_path):
    path = tmp_path / "w.safetensors"
    path.write_bytes(GOOD)
    assert parse_header(path) == parse_header(str(path)) == parse_header(io.BytesIO(GOOD), size=len(GOOD))
    stream = io.BytesIO(b"12345" + GOOD)
    stream.seek(5)
    assert parse_header(stream) == parse_header(path)
    with safe_open(path, framework="np") as theirs:
        assert set(theirs.keys()) == set(parse_header(path).tensors)


def test_the_header_limit_can_be_raised_to_16_mb_and_no_further():
    large = raw({f"{i:0500}": entry(0, 0, [0]) for i in range(9000)})
    with pytest.raises(CompositionError, match="at most 4,194,304") as caught:
        parse_header(io.BytesIO(large))
    assert caught.value.code == "safetensors.header_too_large"
    assert len(parse_header(io.BytesIO(large), max_header=8 * 1024 * 1024).tensors) == 9000
    with pytest.raises(CompositionError, match="at most 16,777,216"):
        parse_header(io.BytesIO(raw({}, length=17 * 1024 * 1024)), max_header=10**9)


@pytest.mark.parametrize(
    ("shape", "accepted"), [([1] * 8, True), ([1] * 9, False)], ids=["eight dimensions", "nine dimensions"]
)
def test_the_limit_of_dimensions_is_exact(shape, accepted):
    accepts(raw({"a": entry(shape=shape)}, b"\0" * 4), accepted)


@pytest.mark.parametrize(("length", "accepted"), [(512, True), (513, False)])
def test_the_limit_of_names_is_exact(length, accepted):
    accepts(raw({"a" * length: entry()}, b"\0" * 4), accepted)


@pytest.mark.parametrize(("length", "accepted"), [(64 * 1024 - 1, True), (64 * 1024, False)])
def test_the_limit_of_metadata_is_exact(length, accepted):
    accepts(raw({"__metadata__": {"k": "x" * length}, "a": entry()}, b"\0" * 4), accepted)


@pytest.mark.parametrize(("count", "accepted"), [(50_000, True), (50_001, False)])
def test_the_limit_of_tensors_is_exact(count, accepted):
    accepts(raw({f"{i}": entry(0, 0, [0]) for i in range(count)}), accepted)


def accepts(data, accepted):
    if accepted:
        assert parse_header(io.BytesIO(data)).tensors
    else:
        with pytest.raises(CompositionError):
            parse_header(io.BytesIO(data))


def test_an_offender_is_named():
    with pytest.raises(CompositionError) as caught:
        parse_header(io.BytesIO(raw({"layers.3.lora_A": entry(shape=[7])}, b"\0" * 4)), file="w.safetensors")
    assert caught.value.facts["tensors"] == ["layers.3.lora_A"]
    assert "'layers.3.lora_A' of dtype F32 and shape [7] needs 28 bytes; its offsets give it 4" in caught.value.message
