"""Transfers without training: exact where they promise it, and equal to the dense formula where they project."""

import json

import pytest
import torch

from composition.errors import CompositionError
from composition.formats import read_adapter
from composition.recipes import CrossLoraRecipe, LoRamRecipe, PortLlmRecipe
from composition.running.base_models import module_shapes
from composition.weights import Factors, LoraWeights, save_peft
from tests.pico import delta_logits, peft_logits, pico_gpt2, pico_llama, write_adapter, write_kind
from transfer.shortcuts.cross_lora import BaseWeights, cross_lora, frobenius, project
from transfer.shortcuts.loram import loram
from transfer.shortcuts.portllm import portllm

SHAPES = module_shapes(pico_llama().config.to_dict())


@pytest.mark.parametrize("kind", ["plain", "rslora", "both_patterns", "one_layer"])
def test_portllm_moves_the_update_bit_for_bit(kind, tmp_path):
    adapter = read_adapter(write_kind(tmp_path / "a", kind))
    result = portllm([adapter], PortLlmRecipe(), base_name="kin/llama", shapes=SHAPES)
    for module in adapter:
        old, new = adapter[module], result.weights[module]
        assert (old.A.equal(new.A), old.B.equal(new.B), old.scale == new.scale) == (True, True, True)
    further = pico_llama(seed=5)
    save_peft(result.weights, tmp_path / "b")
    assert json.loads((tmp_path / "b" / "adapter_config.json").read_text())["base_model_name_or_path"] == "kin/llama"
    dense = delta_logits({module: adapter[module].delta() for module in adapter}, pico_llama(seed=5))
    assert torch.allclose(peft_logits(tmp_path / "b", further), dense, atol=1e-5)


def test_another_architecture_and_adapters_that_need_their_base_are_refused(tmp_path):
    adapter = read_adapter(write_adapter(tmp_path / "a", r=4))
    other = module_shapes(pico_gpt2().config.to_dict())
    with pytest.raises(CompositionError, match="trans-lora") as caught:
        portllm([adapter], PortLlmRecipe(), base_name="gpt2", shapes=other)
    assert caught.value.code == "transfer.no_module"
    wide = {module: [2 * shape[0], shape[1]] for module, shape in SHAPES.items()}
    with pytest.raises(CompositionError, match="needs equal shapes") as caught:
        portllm([adapter], PortLlmRecipe(), base_name="wide", shapes=wide)
    assert caught.value.code == "transfer.shapes_differ"
    with pytest.raises(CompositionError, match="Give one"):
        portllm([adapter, adapter], PortLlmRecipe(), base_name="x", shapes=SHAPES)


def test_a_pruned_bases_adapter_is_put_back_exactly():
    generator = torch.Generator().manual_seed(0)
    module = "model.layers.0.mlp.down_proj"
    out, wide = SHAPES[module]
    kept_in = torch.randperm(wide, generator=generator)[:20]
    kept_out = torch.randperm(out, generator=generator)[:12]
    A, B = torch.randn(4, 20, generator=generator), torch.randn(12, 4, generator=generator)
    pruned = LoraWeights({module: Factors(A, B, 0.5)}, base_model="pruned", name="me/a")
    index = {module: {"in": kept_in.tolist(), "out": kept_out.tolist()}}
    full = loram([pruned], LoRamRecipe(), base_name="full", index=index, shapes=SHAPES).weights[module].delta()
    wanted = torch.zeros(out, wide)
    wanted[kept_out[:, None], kept_in] = pruned[module].delta()
    assert full.equal(wanted)


def test_dropped_layers_are_renamed_and_what_was_not_pruned_stays(tmp_path):
    adapter = read_adapter(write_adapter(tmp_path / "a", r=4, layers_to_transform=[0]))
    index = {module: {"name": module.replace("layers.0", "layers.1")} for module in adapter}
    result = loram([adapter], LoRamRecipe(), base_name="full", index=index, shapes=SHAPES)
    assert sorted(result.weights) == sorted(module.replace("layers.0", "layers.1") for module in adapter)
    whole = loram([adapter], LoRamRecipe(), base_name="full", index={}, shapes=SHAPES).weights
    assert all(whole[module].A.equal(adapter[module].A) for module in adapter)


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"in": [0, 1, 2]}, "keeps 3"),
        ({"in": [0] * 32}, "twice"),
        ({"in": list(range(1, 33))}, "outside"),
        ({"in": [-1, *range(31)]}, "outside"),
        ({"in": "all"}, "no list"),
        ({"in": [[0]]}, "keeps 1"),
    ],
)
def test_a_wrong_index_map_is_named(entry, words):
    module = "model.layers.0.self_attn.q_proj"
    adapter = LoraWeights({module: Factors(torch.ones(2, 32), torch.ones(32, 2))}, name="me/a")
    with pytest.raises(CompositionError, match=words) as caught:
        loram([adapter], LoRamRecipe(), base_name="full", index={module: entry}, shapes=SHAPES)
    assert caught.value.code == "transfer.index"
    with pytest.raises(CompositionError, match="none that the adapter adapts"):
        loram([adapter], LoRamRecipe(), base_name="full", index={"other": {}}, shapes=SHAPES)


def dense_projection(delta, W_s, W_t, k):
    """P_U ΔW P_Vᵀ with dense P, from NumPy-like SVDs whose signs are fixed as the module says."""

    def parts(weight):
        U, _, Vh = torch.linalg.svd(weight.double(), full_matrices=False)
        U, V = U[:, :k], Vh[:k].T
        sign = torch.stack([U[U[:, j].abs().argmax(), j].sign() for j in range(k)])
        return U * sign, V * sign

    (U_s, V_s), (U_t, V_t) = parts(W_s), parts(W_t)
    if U_s.shape == U_t.shape and V_s.shape == V_t.shape:
        for j in range(k):
            if U_s[:, j] @ U_t[:, j] + V_s[:, j] @ V_t[:, j] < 0:
                U_t[:, j], V_t[:, j] = -U_t[:, j], -V_t[:, j]
    return (U_t @ U_s.T) @ delta.double() @ (V_t @ V_s.T).T


@pytest.mark.parametrize("subspace", [3, 8, 99])
@pytest.mark.parametrize("target", [(16, 12), (24, 10)])
def test_the_projection_is_the_dense_formula(subspace, target):
    generator = torch.Generator().manual_seed(1)
    W_s, W_t = torch.randn(16, 12, generator=generator), torch.randn(*target, generator=generator)
    factors = Factors(torch.randn(3, 12, generator=generator), torch.randn(16, 3, generator=generator), -0.7)
    projected, k = project(factors, W_s, W_t, subspace)
    assert k == min(subspace, 12, *target)
    wanted = dense_projection(factors.delta(), W_s, W_t, k)
    assert torch.allclose(projected.delta().double(), wanted, atol=2e-3)
    assert frobenius(projected) == pytest.approx(float(wanted.norm()), rel=1e-3)


def test_on_its_own_base_a_full_subspace_gives_the_adapter_back(tmp_path):
    base = pico_llama()
    base.save_pretrained(tmp_path / "base")
    adapter = read_adapter(write_adapter(tmp_path / "a", r=4, target_modules=["q_proj", "o_proj"]))
    result = cross_lora([adapter], CrossLoraRecipe(subspace=999), base_name="self", source=tmp_path / "base",
                        target=tmp_path / "base")  # fmt: skip
    for module in adapter:
        assert torch.allclose(result.weights[module].delta(), adapter[module].delta(), atol=1e-4)
    assert result.report["summary"]["retained"] == pytest.approx(1.0, abs=1e-3)
    small = cross_lora([adapter], CrossLoraRecipe(subspace=4, keep_norm=True), base_name="self",
                       source=tmp_path / "base", target=tmp_path / "base")  # fmt: skip
    assert small.report["summary"]["retained"] < 1
    for module in adapter:
        assert frobenius(small.weights[module]) == pytest.approx(frobenius(adapter[module]), rel=1e-4)


def test_widths_and_depths_may_differ_and_conv1d_is_turned(tmp_path):
    from tests.transfer import toy

    toy.blank(0).save_pretrained(tmp_path / "old")
    toy.blank(1, hidden_size=48, num_hidden_layers=4).save_pretrained(tmp_path / "new")
    adapter = read_adapter(write_adapter(tmp_path / "a", model=toy.blank(0), r=4, target_modules=["q_proj"]))
    result = cross_lora([adapter], CrossLoraRecipe(), base_name="new", source=tmp_path / "old", target=tmp_path / "new")
    from_layer = {row: made["from"] for row, made in result.report["modules"].items()}
    assert [name.split(".")[2] for name in sorted(from_layer)] == list("0123")
    assert [from_layer[name].split(".")[2] for name in sorted(from_layer)] == list("0011")
    save_peft(result.weights, tmp_path / "b")
    assert peft_logits(tmp_path / "b", toy.blank(1, hidden_size=48, num_hidden_layers=4)).isfinite().all()
    pico_gpt2().save_pretrained(tmp_path / "gpt2")
    turned = read_adapter(
        write_adapter(tmp_path / "c", model=pico_gpt2(), r=4, target_modules=["attn.c_proj"], fan_in_fan_out=True)
    )
    same = cross_lora([turned], CrossLoraRecipe(subspace=99), base_name="gpt2", source=tmp_path / "gpt2",
                      target=tmp_path / "gpt2")  # fmt: skip
    assert all(torch.allclose(same.weights[m].delta(), turned[m].delta(), atol=1e-4) for m in turned)


def test_the_wrong_source_and_missing_weights_are_named(tmp_path):
    from tests.transfer import toy

    toy.blank(0, hidden_size=48).save_pretrained(tmp_path / "other")
    adapter = read_adapter(write_adapter(tmp_path / "a", r=4))
    with pytest.raises(CompositionError, match="not the base it was trained on"):
        cross_lora([adapter], CrossLoraRecipe(), base_name="x", source=tmp_path / "other", target=tmp_path / "other")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CompositionError) as caught:
        BaseWeights(tmp_path / "empty")
    assert caught.value.code == "transfer.weights_missing"


def test_equal_input_makes_equal_bytes(tmp_path):
    pico_llama(3).save_pretrained(tmp_path / "base")
    adapter = read_adapter(write_adapter(tmp_path / "a", r=4))
    for name in "bc":
        result = cross_lora([adapter], CrossLoraRecipe(subspace=8), base_name="x", source=tmp_path / "base",
                            target=tmp_path / "base")  # fmt: skip
        save_peft(result.weights, tmp_path / name)
    read = [(tmp_path / name / "adapter_model.safetensors").read_bytes() for name in "bc"]
    assert read[0] == read[1]
