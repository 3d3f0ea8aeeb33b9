"""Every byte is looked at, few are held, and no byte makes the validator crash."""

import io
import json
import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save

from composition.errors import CompositionError
from composition.formats.validate import LocalFile, MemoryFile, validate_adapter
from tests.uploads import CONFIG, PREFIX, SHAPES, WEIGHTS, adapter, config, entry, raw


def check(files, shapes=SHAPES):
    return validate_adapter({name: MemoryFile(data) for name, data in files.items()}, base_shapes=shapes)


def refusal(files, shapes=SHAPES):
    with pytest.raises(CompositionError) as caught:
        check(files, shapes)
    return caught.value


SPECIAL = {"F8_E5M2": [0x7C, 0x7E, 0xFC], "F8_E4M3": [0x7F, 0xFF], "F8_E8M0": [0xFF]}


@pytest.mark.parametrize("dtype", SPECIAL)
def test_not_a_number_in_eight_bits(dtype):
    """Factors must be wider, but whole layers beside them may be stored in 8 bits, and are scanned as well."""
    for bits in range(256):
        data = bytes([1, bits, 2])
        files = adapter(raw({"x.ia3_l": entry(0, 3, [3], dtype)}, data), peft_type="IA3")
        if bits in SPECIAL[dtype] or (dtype == "F8_E5M2" and bits & 0x7F >= 0x7C):
            assert refusal(files).code == "adapter.not_finite"
        else:
            assert check(files).dtype == dtype


@settings(max_examples=200, deadline=None)
@given(st.sampled_from([np.float16, np.float32, np.float64]), st.data())
def test_the_scan_agrees_with_numpy(kind, data):
    width = np.dtype(kind).itemsize
    bits = data.draw(st.binary(min_size=8 * width, max_size=8 * width))
    array = np.frombuffer(bits, dtype=kind)
    weights = {
        f"{PREFIX}a.q_proj.lora_A.weight": array.reshape(2, 4),
        f"{PREFIX}a.q_proj.lora_B.weight": np.ones((3, 2)),
    }
    files = adapter(save(weights), r=2, target_modules=["q_proj"])
    if np.isfinite(array).all():
        check(files, None)
    else:
        assert refusal(files, None).code == "adapter.not_finite"


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_mutated_uploads_are_refused_or_read_and_never_crash(data):
    files = adapter()
    name = data.draw(st.sampled_from([CONFIG, WEIGHTS]))
    changed = bytearray(files[name])
    limit = len(changed) if name == CONFIG else 1200
    for _ in range(data.draw(st.integers(1, 4))):
        changed[data.draw(st.integers(0, limit - 1))] = data.draw(st.integers(0, 255))
    try:
        check(files | {name: bytes(changed)})
    except CompositionError as error:
        assert error.code.partition(".")[0] in ("config", "safetensors", "adapter", "content")
        assert json.dumps(error.to_dict())


class Counting(io.RawIOBase):
    """A stream that makes its bytes up, gives few at a time, and holds none."""

    def __init__(self, head: bytes, size: int) -> None:
        self.head, self.size, self.at = head, size, 0

    def readable(self):
        return True

    def seekable(self):
        return True

    def seek(self, offset, whence=0):
        self.at = offset + (0, self.at, self.size)[whence]
        return self.at

    def tell(self):
        return self.at

    def readinto(self, buffer):
        count = min(len(buffer), 300_007, self.size - self.at)
        inside = self.head[self.at : self.at + count]
        buffer[:count] = inside + b"\x11" * (count - len(inside))
        self.at += count
        return count


class MadeUp:
    """A weights file of `modules` pairs of width 4096 and rank 16, without the bytes."""

    def __init__(self, modules: int) -> None:
        header, at = {}, 0
        for module in range(modules):
            for half, shape in (("A", [16, 4096]), ("B", [4096, 16])):
                header[f"{PREFIX}layers.{module}.q_proj.lora_{half}.weight"] = entry(at, at + 131072, shape, "F16")
                at += 131072
        self.head = raw(header)
        self.size = len(self.head) + at

    def open(self):
        return Counting(self.head, self.size)


def test_memory_stays_small_while_200_mb_stream_by():
    import tracemalloc

    files = {CONFIG: MemoryFile(config(r=16, target_modules=["q_proj"])), WEIGHTS: MadeUp(800)}
    assert files[WEIGHTS].size > 200_000_000
    tracemalloc.start()
    try:
        facts = validate_adapter(files)
        assert tracemalloc.get_traced_memory()[1] < 12_000_000
    finally:
        tracemalloc.stop()
    assert len(facts.modules) == 800


def test_200_mb_take_under_a_second_of_cpu(tmp_path):
    source = MadeUp(800)
    (tmp_path / WEIGHTS).write_bytes(source.head + b"\x11" * (source.size - len(source.head)))
    files = {CONFIG: MemoryFile(config(r=16, target_modules=["q_proj"])), WEIGHTS: LocalFile(tmp_path / WEIGHTS)}
    start = time.thread_time()
    validate_adapter(files)
    seconds = time.thread_time() - start
    assert source.size / seconds > 150e6, f"{source.size / seconds / 1e6:.0f} MB a CPU second"


def test_a_file_that_shrinks_while_it_is_read_is_refused():
    files = adapter()
    files[WEIGHTS] = files[WEIGHTS][:-10]

    class Lying(MemoryFile):
        @property
        def size(self):
            return len(self.data) + 10

    with pytest.raises(CompositionError) as caught:
        validate_adapter({CONFIG: MemoryFile(files[CONFIG]), WEIGHTS: Lying(files[WEIGHTS])})
    assert caught.value.code == "safetensors.truncated"


def test_validators_may_run_side_by_side():
    results = []
    threads = [threading.Thread(target=lambda: results.append(check(adapter()))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4
    assert all(result == results[0] for result in results)
