"""Validation of assemblies: what assembling writes passes, anything else that claims to be one is refused."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from composition.errors import CompositionError
from composition.formats import read_adapter
from composition.formats.validate import local_files, validate_adapter
from composition.moe.assemble import assemble
from composition.moe.save import save_assembly
from composition.recipes import MeteoraRecipe, SmoraRecipe
from tests import pico

RECIPES = [MeteoraRecipe(train="prototype", top_k=2), SmoraRecipe(train="prototype")]


@pytest.fixture(scope="module")
def shapes():
    from composition.running.base_models import module_shapes

    return module_shapes(pico.pico_llama().config.to_dict())


@pytest.fixture(params=RECIPES, ids=lambda recipe: recipe.kind)
def folder(request, tmp_path):
    adapters = []
    for number, r in enumerate((4, 2)):
        adapters.append(read_adapter(pico.write_adapter(tmp_path / f"{number}", seed=number, r=r, lora_alpha=2 * r)))
        adapters[-1].name = f"lab/{number}"
    save_assembly(assemble(adapters, request.param), tmp_path / "mix")
    return tmp_path / "mix"


def code_of(folder, shapes=None) -> str:
    with pytest.raises(CompositionError) as refusal:
        validate_adapter(local_files(folder), base_shapes=shapes)
    return refusal.value.code


def change_config(folder, **fields):
    path = folder / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def change_tensors(folder, change):
    path = folder / "adapter_model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)


def test_what_assembling_writes_passes(folder, shapes):
    facts = validate_adapter(local_files(folder), base_shapes=shapes)
    assert facts.peft_type in ("METEORA", "SMORA")
    assert facts.ranks == (6, 6)
    assert set(facts.modules) == {name for name in shapes if name.endswith("_proj")}
    (need,) = facts.needs_base
    assert need["code"] == "mixture"


def test_code_that_is_not_the_loader_is_refused(folder):
    (folder / "lora_moe_peft.py").write_text("import os\n")
    assert code_of(folder) == "content.code"


def test_the_loader_under_another_name_is_code(folder):
    (folder / "lora_moe_peft.py").rename(folder / "other.py")
    assert code_of(folder) == "content.code"


@pytest.mark.parametrize(
    "fields",
    [
        {"experts": []},
        {"experts": "all"},
        {"experts": [{"name": "a", "r": -1, "lora_alpha": 1}]},
        {"experts": [{"name": "a", "r": True, "lora_alpha": 1}]},
        {"experts": [{"name": "a", "r": 4}]},
        {"experts": [{"name": "a", "r": 4, "lora_alpha": 8}] * 2},
        {"rank_pattern": {"model.layers.0.self_attn.q_proj": [4]}},
        {"rank_pattern": {"model.layers.0.self_attn.q_proj": [4, "2"]}},
        {"scale_pattern": {"model.layers.0.self_attn.q_proj": [1.0, None]}},
        {"rank_partition": 0},
    ],
    ids=str,
)
def test_configs_that_say_nothing_sensible_are_refused(folder, fields):
    change_config(folder, **fields)
    assert code_of(folder) == "assembly.config"


def test_a_missing_gate_is_named(folder):
    change_tensors(folder, lambda tensors: tensors.pop(next(name for name in tensors if name.endswith("_gate"))))
    assert code_of(folder) == "assembly.tensors"


def test_ranks_that_the_config_does_not_give_are_refused(folder):
    change_config(folder, rank_pattern={"model.layers.0.self_attn.q_proj": [4, 4]})
    assert code_of(folder) == "assembly.tensors"


def test_a_strange_tensor_is_refused(folder):
    change_tensors(folder, lambda tensors: tensors.update(other=torch.ones(2)))
    assert code_of(folder) == "assembly.tensors"


def test_not_a_number_is_refused(folder):
    def spoil(tensors):
        next(value for name, value in tensors.items() if name.endswith("_A"))[0, 0] = float("nan")

    change_tensors(folder, spoil)
    assert code_of(folder) == "adapter.not_finite"


def test_another_base_is_refused(folder, shapes):
    wider = {name: [2 * extent for extent in shape] for name, shape in shapes.items()}
    assert code_of(folder, wider) == "adapter.shape"
    assert code_of(folder, {"model.embed_tokens": [64, 32]}) == "adapter.shape"


def test_a_mixture_is_no_input_of_a_merge(folder):
    from composition.recipes import SvdRecipe

    facts = validate_adapter(local_files(folder))
    with pytest.raises(CompositionError, match="mixture") as refusal:
        SvdRecipe(rank=4).check([("lab/mix", facts), ("lab/mix2", facts)])
    assert refusal.value.code == "merge.needs_base"
