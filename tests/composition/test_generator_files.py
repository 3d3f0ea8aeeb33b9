"""An uploaded generator: what its headers must say, and the code of every refusal."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from composition.errors import CompositionError
from composition.formats.generator.files import validate_generator
from composition.formats.sources import MemoryFile, local_files
from composition.generative.files import load_generator, save_generator
from composition.generative.train import linear_shapes
from tests.composition.generators import pico_generator
from tests.pico import BASE, pico_llama

CONFIG, WEIGHTS = "generator_config.json", "generator.safetensors"


@pytest.fixture
def folder(tmp_path):
    save_generator(pico_generator(), tmp_path)
    return tmp_path


def changed(folder, **fields):
    config = json.loads((folder / CONFIG).read_text())
    config.update(fields)
    (folder / CONFIG).write_text(json.dumps({k: v for k, v in config.items() if v != "gone"}))


def refusal(folder, **more):
    with pytest.raises(CompositionError) as caught:
        validate_generator(local_files(folder), **more)
    return caught.value


def test_facts(folder):
    facts = validate_generator(local_files(folder), base_shapes=linear_shapes(pico_llama()))
    assert facts.base_model_name == BASE and facts.dtype == "F16" and facts.adapter_rank == 6
    assert facts.modules == [f"model.layers.{i}.self_attn.o_proj" for i in range(2)]
    assert facts.sizes["inner"] == 12 and facts.sizes["norm"] == "svd"
    parameters = sum(p.numel() for p in pico_generator().parameters())
    assert facts.parameters == parameters and facts.bytes == 2 * parameters
    assert facts.adapter_parameters == 2 * 6 * 64
    json.dumps(facts.to_dict())


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"format_version": 2}, "generator.version"),
        ({"inner": 0}, "generator.config"),
        ({"inner": True}, "generator.config"),
        ({"hidden": "gone"}, "generator.config"),
        ({"alpha": -1}, "generator.config"),
        ({"norm": "spectral"}, "generator.config"),
        ({"shift": 2}, "generator.config"),
        ({"rank": 11}, "generator.config"),
        ({"base_model": ""}, "generator.config"),
        ({"modules": ["o_proj"]}, "generator.config"),
        ({"modules": []}, "generator.config"),
        ({"training": None}, "generator.config"),
        ({"code": "x"}, "generator.config"),
        ({"modules": ["model.layers.0.self_attn.o_proj"]}, "generator.tensors"),
        ({"modules": [f"model.layers.{i}.self_attn.o_proj" for i in range(3)]}, "generator.tensors"),
        ({"r": 11}, "generator.tensors"),
    ],
)
def test_a_config_that_is_not_the_weights_is_refused(folder, fields, code):
    changed(folder, **fields)
    assert refusal(folder).code == code
    with pytest.raises(CompositionError) as caught:
        load_generator(folder)
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("content", "code"),
    [(b"{", "json"), (b'{"r": 1, "r": 2}', "duplicate_key"), (b'{"r": NaN}', "not_finite"), (b"[]", "config")],
)
def test_a_config_that_has_no_one_reading_is_refused(folder, content, code):
    (folder / CONFIG).write_bytes(content)
    assert refusal(folder).code == f"generator.{code}"


def test_weights_of_two_kinds_are_refused(folder):
    tensors = load_file(folder / WEIGHTS)
    save_file({**tensors, "model.layers.0.self_attn.o_proj.B": torch.zeros(32, 10)}, folder / WEIGHTS)
    assert refusal(folder).code == "generator.dtype"
    save_file({name: tensor.int() for name, tensor in tensors.items()}, folder / WEIGHTS)
    assert refusal(folder).code == "generator.dtype"


def test_weights_that_are_no_numbers_are_not_loaded(folder):
    tensors = load_file(folder / WEIGHTS)
    tensors["model.layers.1.self_attn.o_proj.A1"][0, 0] = float("nan")
    save_file(tensors, folder / WEIGHTS)
    with pytest.raises(CompositionError) as caught:
        load_generator(folder)
    assert caught.value.code == "generator.not_finite"


@pytest.mark.parametrize("name", [CONFIG, WEIGHTS])
def test_both_files_are_needed(folder, name):
    (folder / name).unlink()
    assert refusal(folder).code == "generator.missing_file"


def test_what_does_not_belong_is_refused(folder):
    files = local_files(folder) | {"more.safetensors": MemoryFile((folder / WEIGHTS).read_bytes())}
    with pytest.raises(CompositionError) as caught:
        validate_generator(files)
    assert caught.value.code == "generator.extra_file"


def test_a_base_of_other_shapes_is_refused(folder):
    shapes = linear_shapes(pico_llama())
    shapes["model.layers.1.self_attn.o_proj"] = [64, 32]
    error = refusal(folder, base_shapes=shapes)
    assert error.code == "generator.shape" and "layers.1" in error.message and error.facts["count"] == 1
    assert refusal(folder, base_shapes={}).facts["count"] == 2


def test_equal_generators_give_equal_bytes(folder, tmp_path):
    save_generator(pico_generator(), tmp_path / "again")
    for path in (tmp_path / "again").iterdir():
        assert path.read_bytes() == (folder / path.name).read_bytes()


def test_validating_loads_no_torch():
    code = (
        "import sys; import composition.formats.generator.files, composition.recipes.generate, composition.registry;"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], check=True)
