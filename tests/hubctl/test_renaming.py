"""`hubctl push --rename`: the hub's steps, carried out on a copy that has the same tensors under new names."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from composition.formats.peft.renaming import renamed
from hubctl.errors import Refused
from hubctl.folders.renaming import mended, new_name, write_renamed

PARTS = some.sampled_from(["module", "_orig_mod", "lora_A", "lora_embedding_B", "sft", "weight", "base_model", "model"])
NAMES = some.lists(PARTS, min_size=1, max_size=7).map(".".join)
STEPS = some.one_of(
    some.fixed_dictionaries(
        {"strip": PARTS, "where": some.sampled_from(["anywhere", "start", "after_factor"])},
    ),
    some.fixed_dictionaries({"replace": NAMES, "by": NAMES}),
    some.fixed_dictionaries({"insert": NAMES.map(lambda name: f"{name}.")}),
)


@given(NAMES, some.lists(STEPS, max_size=4))
def test_client_and_hub_carry_out_the_same_steps(name, steps):
    assert new_name(name, steps) == renamed(name, steps)


def test_an_unknown_step_is_refused():
    for step in ({"reverse": "x"}, {"strip": "x", "where": "end"}, {"strip": "x"}):
        with pytest.raises(Refused, match="Update hubctl"):
            new_name("x.y", [step])


@pytest.fixture
def weights(tmp_path):
    """A file of two wrapped tensors and one that isn't, with metadata."""
    random = np.random.default_rng(0)
    names = ("_orig_mod.a.lora_A.weight", "_orig_mod.a.lora_B.weight", "b.weight")
    tensors = {name: random.normal(size=(3, n + 2)).astype("float16") for n, name in enumerate(names)}
    file = tmp_path / "adapter" / "adapter_model.safetensors"
    file.parent.mkdir()
    save_file(tensors, file, metadata={"format": "pt"})
    return file


STRIP = [{"strip": "_orig_mod", "where": "anywhere"}]


def test_the_copy_has_the_same_tensors_under_new_names(weights, tmp_path):
    before = weights.read_bytes()
    done = write_renamed(weights, tmp_path / "copy", STRIP)
    old, new = load_file(weights), load_file(tmp_path / "copy")
    assert set(new) == {"a.lora_A.weight", "a.lora_B.weight", "b.weight"}
    for name, array in old.items():
        np.testing.assert_array_equal(new[name.removeprefix("_orig_mod.")], array)
    with safe_open(tmp_path / "copy", "np") as opened:
        assert opened.metadata() == {"format": "pt"}
    assert weights.read_bytes() == before
    assert done.to_dict()["renamed"] == 2 and done.tensors == 3
    assert done.to_dict()["examples"][0] == ["_orig_mod.a.lora_A.weight", "a.lora_A.weight"]


def test_the_copy_is_gone_after_the_block(weights):
    with mended({"adapter_model.safetensors": weights}, STRIP) as (files, _):
        copy = files["adapter_model.safetensors"]
        assert copy.exists() and copy != weights
    assert not copy.parent.exists()


def test_two_tensors_of_one_name_are_refused(tmp_path):
    file = tmp_path / "two.safetensors"
    save_file({"m.x": np.zeros(1), "x": np.zeros(1)}, file)
    with pytest.raises(Refused, match="one name"):
        write_renamed(file, tmp_path / "copy", [{"strip": "m", "where": "start"}])


@pytest.mark.parametrize("data", [b"", b"\xff" * 100, b"\x02\0\0\0\0\0\0\0[]", b"\x09\0\0\0\0\0\0\0{"])
def test_what_is_no_safetensors_file_is_refused(tmp_path, data):
    (tmp_path / "x").write_bytes(data)
    with pytest.raises(Refused, match="not a safetensors file"):
        write_renamed(tmp_path / "x", tmp_path / "copy", STRIP)


def test_padding_keeps_the_data_aligned(weights, tmp_path):
    write_renamed(weights, tmp_path / "copy", STRIP)
    length = int.from_bytes((tmp_path / "copy").read_bytes()[:8], "little")
    assert length % 8 == 0
    assert json.loads((tmp_path / "copy").read_bytes()[8 : 8 + length])
