"""The norms in an upload's facts: against the dense update in float64, for every dtype, kind and size of numbers."""

import pytest
import torch

from composition.errors import CompositionError
from composition.formats import read_adapter
from composition.formats.safetensors_header import TensorInfo, parse_header
from composition.formats.validate import local_files, validate_adapter
from tests import pico

SHAPES = {"A": (2, 3), "B": (12, 2)}


@pytest.mark.parametrize("kind", ["plain", "rslora", "rank_pattern", "alpha_pattern", "few_targets"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_norms_are_those_of_the_dense_update(tmp_path, kind, dtype):
    from safetensors.torch import load_file, save_file

    folder = pico.write_kind(tmp_path / "adapter", kind, seed=3)
    path = folder / "adapter_model.safetensors"
    save_file({name: value.to(dtype) for name, value in load_file(path).items()}, path)
    facts = validate_adapter(local_files(folder))
    weights = read_adapter(folder)
    assert set(facts.modules) == set(weights)
    for name, module in facts.modules.items():
        factors = weights[name]
        dense = factors.scale * factors.B.double() @ factors.A.double()
        assert module.norm == pytest.approx(float(dense.norm()), rel=1e-5)


@pytest.mark.parametrize(
    ("size", "expected"), [(0.0, 0.0), (1e-30, 12e-60), (1e30, 12e60), (1e200, None)], ids=["0", "tiny", "huge", "past"]
)
def test_no_size_of_numbers_breaks_a_norm(tmp_path, size, expected):
    from safetensors.torch import save_file

    from composition.formats.peft.norms import update_norm
    from composition.formats.peft.tensors import Pair

    path = tmp_path / "one.safetensors"
    save_file({name: torch.full(shape, size, dtype=torch.double) for name, shape in SHAPES.items()}, path)
    with path.open("rb") as stream:
        header = parse_header(stream, size=path.stat().st_size)
        pair = Pair(table=False, A=header.tensors["A"], B=header.tensors["B"])
        found = update_norm(stream, header, pair)
    assert found is None if expected is None else found == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_two_threads_find_what_one_does(tmp_path, monkeypatch, dtype):
    from safetensors.torch import load_file, save_file

    from composition.formats.peft import norms

    folder = pico.write_kind(tmp_path / "adapter", "rank_pattern", seed=5)
    path = folder / "adapter_model.safetensors"
    stored = {name: value.to(dtype) for name, value in load_file(path).items()}
    save_file(stored, path)
    one = validate_adapter(local_files(folder))
    monkeypatch.setattr(norms, "SHARED", 0)
    monkeypatch.setattr(norms.os, "cpu_count", lambda: 2)
    assert validate_adapter(local_files(folder)) == one
    for broken in sorted(stored):
        value = stored[broken].clone()
        value.view(-1)[-1] = float("nan") if broken < sorted(stored)[2] else -float("inf")
        save_file({**stored, broken: value}, path)
        with pytest.raises(CompositionError) as refused:
            validate_adapter(local_files(folder))
        assert refused.value.code == "adapter.not_finite" and refused.value.facts["tensors"] == [broken]


def test_values_that_are_no_factors_are_looked_at_as_well(tmp_path):
    from safetensors.torch import load_file, save_file

    folder = pico.write_adapter(tmp_path / "adapter", seed=5, modules_to_save=["lm_head"])
    path = folder / "adapter_model.safetensors"
    stored = load_file(path)
    others = [name for name in stored if ".lora_" not in name]
    assert others
    for broken in others:
        save_file({**stored, broken: torch.full_like(stored[broken], float("inf"))}, path)
        with pytest.raises(CompositionError) as refused:
            validate_adapter(local_files(folder))
        assert refused.value.facts["tensors"] == [broken]


def test_the_magnitude_of_the_largest_bits_is_that_of_the_largest_value():
    import io

    from composition.formats import finite

    for name, dtype in {"F64": torch.double, "F32": torch.float, "F16": torch.half, "BF16": torch.bfloat16}.items():
        values = torch.tensor([0.5, -3.25, 2.0], dtype=dtype)
        data = values.view(torch.uint8).numpy().tobytes()
        view = memoryview(bytearray(len(data)))
        largest = finite.read(io.BytesIO(data), TensorInfo(name, (3,), 0, len(data)), view, finite.scratch())
        assert finite.magnitude(name, largest) == 3.25 and bytes(view) == data
