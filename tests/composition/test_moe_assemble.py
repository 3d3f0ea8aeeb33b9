"""Assembling: stacks hold every expert's bits, cuts give them back, prototypes point where adapters act."""

import json

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file

from composition.errors import CompositionError, RecipeError
from composition.formats import read_adapter
from composition.formats.mixture.parts import arrow_snippet
from composition.moe import prototypes
from composition.moe.assemble import assemble
from composition.moe.lora_moe_peft import record_routing
from composition.moe.routing import expert_weights
from composition.moe.save import LOADER, loader_digest, save_assembly
from composition.moe.unstack import StoredAssembly, cat_of, expert_of, experts_of
from composition.recipes import MeteoraRecipe, SmoraRecipe
from composition.registry import METHODS, methods_of
from composition.weights import Factors, LoraWeights, save_peft
from tests import pico
from tests.composition.mixtures import read_experts, same
from tests.composition.random_adapters import random_adapter, relative

FREE = [MeteoraRecipe(train="prototype"), SmoraRecipe(train="prototype")]


def ids(recipe) -> str:
    return recipe.kind


@pytest.fixture(scope="module")
def experts(tmp_path_factory):
    return read_experts(tmp_path_factory.mktemp("experts"))


def saved(experts, recipe, folder):
    save_assembly(assemble(experts, recipe), folder)
    return folder


def test_both_mixtures_are_rows_that_assemble():
    assert [method.kind for method in methods_of("assemble")] == ["meteora", "smora"]
    assert METHODS["smora"].load() is assemble


@pytest.mark.parametrize("recipe", FREE, ids=ids)
def test_every_expert_is_cut_out_with_its_own_bits(experts, recipe, tmp_path):
    saved(experts, recipe, tmp_path / "mix")
    for expert in experts:
        cut = expert_of(tmp_path / "mix", expert.name)
        assert same(cut, expert)
        save_peft(cut, tmp_path / expert.name)
        assert same(read_adapter(tmp_path / expert.name), expert)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_stack_keeps_the_precision_of_its_experts(dtype, tmp_path):
    experts = read_experts(tmp_path, dtype=dtype)
    saved(experts, FREE[0], tmp_path / "mix")
    tensors = load_file(tmp_path / "mix" / "adapter_model.safetensors")
    assert {t.dtype for k, t in tensors.items() if k.endswith(("_A", "_B"))} == {dtype}
    assert {t.dtype for k, t in tensors.items() if k.endswith("_gate")} == {torch.float32}
    assert all(same(expert_of(tmp_path / "mix", e.name), e) for e in experts)


def test_the_folder_holds_what_the_format_says(experts, tmp_path):
    saved(experts, FREE[0], tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
        "lora_moe_peft.py",
        "router.json",
    ]
    assert (tmp_path / "lora_moe_peft.py").read_bytes() == LOADER.read_bytes()
    assert len(loader_digest()) == 64
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert config["peft_type"] == "METEORA" and config["trained"] == "prototype" and config["top_k"] == 2
    assert [(e["name"], e["r"]) for e in config["experts"]] == [("a", 4), ("b", 8), ("c", 2)]
    assert config["rank_pattern"]["model.layers.0.mlp.up_proj"] == [4, 0, 2]
    assert config["rank_pattern"]["model.layers.0.self_attn.v_proj"] == [4, 8, 6]
    assert "model.layers.0.self_attn.q_proj" not in config["rank_pattern"]
    assert config["scale_pattern"]["model.layers.1.self_attn.q_proj"][2] == 0.5
    assert config["base_model_name_or_path"] == pico.BASE


@pytest.mark.parametrize("recipe", FREE, ids=ids)
def test_the_same_inputs_make_the_same_bytes(experts, recipe, tmp_path):
    for name in ("one", "two"):
        saved(experts, recipe, tmp_path / name)
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


@pytest.mark.parametrize("recipe", FREE, ids=ids)
def test_peft_loads_it_and_runs_it(experts, recipe, tmp_path):
    saved(experts, recipe, tmp_path)
    model = PeftModel.from_pretrained(pico.pico_llama(), str(tmp_path)).eval()
    loaded = dict(model.named_parameters()) | dict(model.named_buffers())
    for key, tensor in load_file(tmp_path / "adapter_model.safetensors").items():
        assert loaded[f"{key}.default"].equal(tensor)
    with torch.no_grad():
        assert not torch.equal(model(pico.tokens()).logits, pico.pico_llama()(pico.tokens()).logits)


def test_prototypes_are_the_top_right_singular_vectors():
    factors = random_adapter(0, width=(24, 20), scale=-0.7)["model.layers.0.q_proj"]
    top = torch.linalg.svd(factors.delta().double()).Vh[0]
    found = prototypes.prototype(factors).double()
    assert min((found - top).norm(), (found + top).norm()) < 1e-6
    assert prototypes.prototype(Factors(factors.A, torch.zeros_like(factors.B))).eq(0).all()


def test_gates_have_a_row_an_expert_or_a_rank(experts):
    up, v = "model.layers.0.mlp.up_proj", "model.layers.0.self_attn.v_proj"
    gate = prototypes.expert_gate(experts, up)
    assert gate.shape == (3, 32) and gate[1].eq(0).all()
    assert torch.allclose(gate[[0, 2]].norm(dim=1), torch.ones(2))
    ranks = prototypes.rank_gate(experts, v, 2)
    assert ranks.shape == ((4 + 8 + 6) // 2, 32)
    assert ranks[0].equal(ranks[1]) and not ranks[1].equal(ranks[2])


def test_singular_directions_are_the_same_update():
    for rank in (4, 30):  # 30 is more than the width
        factors = random_adapter(1, ranks={"q": rank}, width=(24, 20), scale=-1.5)["q"]
        turned = prototypes.svd_basis(factors)
        assert turned.rank == rank and relative(turned.delta(), factors.delta()) < 1e-6
    norms = turned.A.norm(dim=1) * turned.B.norm(dim=0)
    assert (norms[:-1] >= norms[1:] - 1e-6).all()


def test_smora_in_the_svd_basis_keeps_the_updates(experts, tmp_path):
    saved(experts, SmoraRecipe(train="prototype", rank_basis="svd"), tmp_path)
    for expert in experts:
        cut = expert_of(tmp_path, expert.name)
        assert list(cut) == list(expert)
        assert max(relative(cut[m].delta(), expert[m].delta()) for m in cut) < 1e-6


def test_concatenation_is_the_sum_and_the_mean(experts, tmp_path):
    saved(experts, FREE[0], tmp_path)
    for weight in (1.0, 1 / 3):
        whole = cat_of(tmp_path, weight=weight)
        for module in whole:
            wanted = weight * sum(e[module].delta() for e in experts if module in e)
            assert relative(whole[module].delta(), wanted) < 1e-6
            assert whole.module_facts(module) == whole[module].facts()
            assert whole.module_dtype(module) == whole[module].B.dtype


def test_a_token_takes_the_expert_whose_direction_it_meets(tmp_path):
    """SMoRA's ranks of an expert share its prototype, so k = r takes whole experts: those of MeteoRA's top-1."""
    experts = [
        random_adapter(seed, name=f"e{seed}", ranks={"model.layers.0.mlp.down_proj": 4}, width=(48, 32))
        for seed in range(3)
    ]
    x, chosen = torch.randn(50, 48, generator=torch.Generator().manual_seed(0)), []
    for recipe in (MeteoraRecipe(train="prototype", top_k=1), SmoraRecipe(train="prototype")):
        saved(experts, recipe, tmp_path / recipe.kind)
        base = pico.pico_llama()
        model = PeftModel.from_pretrained(base, str(tmp_path / recipe.kind)).eval()
        with torch.no_grad(), record_routing(model) as routing:
            (layer,) = routing.values()
            layer(x)
            (module,) = routing
            chosen.append(expert_weights(layer, routing.experts(module), routing.weights(module)))
    directions = torch.stack([torch.linalg.svd(e["model.layers.0.mlp.down_proj"].delta()).Vh[0] for e in experts])
    assert chosen[0].argmax(1).equal((x @ directions.T).abs().argmax(1))
    assert torch.allclose(chosen[0], chosen[1]) and chosen[0].max(1).values.eq(1).all()


def test_smora_takes_one_adapters_worth_of_ranks(experts):
    config = assemble(experts, SmoraRecipe()).config
    ranks = [f.r for e in experts for f in e.facts().modules.values()]
    assert config["activate_r"] == round(sum(ranks) / len(ranks))
    assert assemble(experts, SmoraRecipe(activate_r=3)).config["activate_r"] == 3


def test_a_random_start_is_seeded_and_a_draft_is_no_result(experts, tmp_path):
    draft = assemble(experts, MeteoraRecipe())
    with pytest.raises(CompositionError) as caught:
        save_assembly(draft, tmp_path)
    assert caught.value.code == "assembly.untrained" and not list(tmp_path.iterdir())
    save_assembly(draft, tmp_path, draft=True)
    gate = StoredAssembly(tmp_path).tensor("model.layers.0.self_attn.q_proj", "gate")
    key = "base_model.model.model.layers.0.self_attn.q_proj.meteora_gate"
    assert gate.equal(draft.entries[key].load()) and gate.abs().max() <= 32**-0.5
    assert not gate.equal(assemble(experts, MeteoraRecipe(seed=1)).entries[key].load())


def test_unlike_precisions_are_refused_or_cast_by_the_recipes_word(experts, tmp_path):
    half = read_experts(tmp_path, "b", dtype=torch.bfloat16)[0]
    with pytest.raises(CompositionError) as caught:
        assemble([experts[0], half], FREE[0])
    assert caught.value.code == "assemble.dtypes_differ" and "dtype=float32" in caught.value.message
    saved([experts[0], half], MeteoraRecipe(train="prototype", dtype="float32"), tmp_path / "mix")
    cut = expert_of(tmp_path / "mix", "b")
    assert all(cut[m].A.equal(half[m].A.float()) for m in half)


def test_a_precision_that_differs_within_one_adapter_is_refused_too():
    def adapter(name, second):
        one, two = random_adapter(0)["model.layers.0.q_proj"], random_adapter(1)["model.layers.0.q_proj"]
        return LoraWeights({"q": one, "v": Factors(two.A.to(second), two.B)}, name=name)

    assembly = assemble([adapter("a", torch.float32), adapter("b", torch.bfloat16)], FREE[0])
    with pytest.raises(CompositionError, match="v of b"):
        assembly.entries["base_model.model.v.meteora_A"].load()


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        (lambda e: e[:1], "assemble.too_few_inputs", "at least 2"),
        (lambda e: [e[0], e[0]], "assemble.named_twice", "was given more than once"),
        (
            lambda e: [e[0], random_adapter(0, ranks={"model.layers.0.self_attn.q_proj": 2})],
            "assemble.shapes_differ",
            "one base",
        ),
    ],
)
def test_what_can_not_be_assembled_is_refused(experts, change, code, words):
    with pytest.raises(CompositionError, match=words) as caught:
        assemble(change(experts), FREE[0])
    assert caught.value.code == code


def test_values_that_are_not_finite_name_the_adapter(tmp_path):
    good, bad = random_adapter(0, name="good"), random_adapter(1, name="bad")
    bad["model.layers.0.q_proj"].A[0, 0] = float("nan")
    with pytest.raises(CompositionError, match="bad holds NaN"):
        save_assembly(assemble([good, bad], FREE[0]), tmp_path)
    assert not (tmp_path / "adapter_config.json").exists()


def test_bounds_depend_on_the_adapters(experts):
    with pytest.raises(RecipeError, match="at most 3") as caught:
        assemble(experts, MeteoraRecipe(train="prototype", top_k=4))
    assert caught.value.field == "top_k"
    with pytest.raises(RecipeError, match="at most 18") as caught:
        assemble(experts, SmoraRecipe(activate_r=19))
    assert caught.value.field == "activate_r"
    with pytest.raises(RecipeError, match="does not divide") as caught:
        assemble(experts, SmoraRecipe(rank_partition=4))
    assert caught.value.field == "rank_partition"
    with pytest.raises(RecipeError) as caught:
        assemble(experts, MeteoraRecipe(top_k=1, gate_loss=0))
    assert caught.value.field == "gate_loss"


@pytest.mark.parametrize(
    ("recipe", "rows", "code"),
    [
        (MeteoraRecipe(), {}, "assemble.no_data"),
        (MeteoraRecipe(), {"a": 3}, "assemble.no_data"),
        (MeteoraRecipe(), {"a": 3, "b": 0}, "assemble.empty_data"),
        (MeteoraRecipe(), {"a": 3, "b": 2, "z": 2}, "assemble.unknown_data"),
        (SmoraRecipe(), {}, "assemble.no_data"),
        (SmoraRecipe(), {"mixed": 0}, "assemble.empty_data"),
    ],
)
def test_data_that_can_not_train_is_refused_before_anything_starts(recipe, rows, code):
    with pytest.raises(CompositionError) as caught:
        recipe.check_data(["a", "b"], rows)
    assert caught.value.code == code


def test_data_that_can_train_passes():
    MeteoraRecipe().check_data(["a", "b"], {"b": 1, "a": 1})
    SmoraRecipe().check_data(["a", "b"], {"mixed": 1})
    MeteoraRecipe(train="prototype").check_data(["a", "b"], {})


def test_an_unknown_expert_names_those_there_are(experts, tmp_path):
    saved(experts, FREE[0], tmp_path)
    with pytest.raises(CompositionError, match="a, b, c"):
        expert_of(tmp_path, "z")
    with pytest.raises(CompositionError, match="is not an assembly"):
        experts_of(tmp_path / "nowhere")


def test_arrows_snippet_is_python():
    compile(arrow_snippet("org/base", ["a", "b"], 3), "snippet", "exec")
    assert "top_k=2" in arrow_snippet("org/base", ["a", "b"], 3)
