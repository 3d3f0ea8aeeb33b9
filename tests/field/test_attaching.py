"""What peft would not load is never run as the adapter, and no adapter leaves a trace on the base."""

import pytest
import torch

from composition.errors import CompositionError
from composition.formats.peft.names import WEIGHTS_FILE
from composition.running.attaching import adapter_attached
from tests import pico
from tests.field.pico_bases import HERE, model

pytestmark = pytest.mark.filterwarnings("ignore")

DEAD = [
    ("c01_torch_compile_prefix", "llama", "8 of its 8 tensors reach nothing"),
    ("c02_ddp_module_prefix", "llama", "8 of its 8 tensors reach nothing"),
    ("c03_adapter_name_in_middle", "llama", "8 of its 8 tensors reach nothing"),
    ("c05_auto_model_no_model_prefix", "llama", "8 of its 8 tensors reach nothing"),
    ("c06c_gemma3_text_only", "gemma3", "8 of its 8 tensors reach nothing"),
    ("c10c_target_parameters_base_without_it", "llama", "tensors reach nothing"),
    ("c11_resized_vocab_whole_embeddings", "llama", "size mismatch"),
    ("c11c_modules_to_save_wrong_size", "llama", "size mismatch"),
    ("c23_lora_name_prefix_missing", "llama", "8 of its 8 tensors reach nothing"),
    ("v_qwen2vl_old", "qwen2vl", "4 of its 4 tensors reach nothing"),
]
ALIVE = [
    ("c03b_default", "llama"),
    ("c05_auto_model_no_model_prefix", "llama-encoder"),
    ("c06_gemma3_transformers450", "gemma3"),
    ("c08_targets_of_other_architectures", "llama"),
    ("c09_mixtral_v4_experts", "mixtral"),
    ("c10_target_parameters", "mixtral"),
    ("c11b_save_embedding_auto_same_size", "llama"),
    ("c12_mergekit_extract_norms", "llama"),
    ("c22_dora_no_weight_suffix", "llama"),
    ("c26_trainable_tokens", "llama"),
    ("c27_bias_lora_only", "qwen2-tied"),
]


def answers(base):
    with torch.no_grad():
        found = base(input_ids=pico.tokens())
    return found.logits if hasattr(found, "logits") else found.last_hidden_state


def state(base):
    return {name: tensor.clone() for name, tensor in base.state_dict().items()}


def unchanged(base, before):
    after = base.state_dict()
    return before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize(("case", "base", "says"), DEAD)
def test_what_peft_does_not_load_is_refused_and_the_base_stays_as_it_was(case, base, says):
    one = model(base)
    before = state(one)
    with pytest.raises(CompositionError) as refusal, adapter_attached(one, HERE / "cases" / case):
        pass
    assert refusal.value.code == "adapter.does_not_load"
    assert says in refusal.value.message
    assert unchanged(one, before)
    assert not hasattr(one, "peft_config")


@pytest.mark.parametrize(("case", "base"), ALIVE)
def test_what_peft_loads_runs_and_the_base_is_the_same_afterwards(case, base):
    one = model(base)
    before, plain = state(one), answers(one)
    with adapter_attached(one, HERE / "cases" / case) as attached:
        assert not torch.equal(answers(attached), plain)
    assert unchanged(one, before)
    assert torch.equal(answers(one), plain)


@pytest.mark.parametrize("drop", ["lora_B", "lora_A"])
def test_half_a_pair_is_refused(drop, tmp_path):
    from safetensors.torch import load_file, save_file

    pico.write_kind(tmp_path, "few_targets")
    weights = load_file(tmp_path / WEIGHTS_FILE)
    lost = next(name for name in weights if drop in name)
    save_file({name: tensor for name, tensor in weights.items() if name != lost}, tmp_path / WEIGHTS_FILE)
    with (
        pytest.raises(CompositionError, match="lacks 1 tensors") as refusal,
        adapter_attached(pico.pico_llama(), tmp_path),
    ):
        pass
    assert refusal.value.code == "adapter.does_not_load"


@pytest.mark.parametrize("init", [True, False])
def test_a_module_without_factors_is_passed_over_only_where_it_stays_as_it_is(init, tmp_path):
    from safetensors.torch import load_file, save_file

    pico.write_kind(tmp_path, "few_targets", init_lora_weights=init)
    weights = load_file(tmp_path / WEIGHTS_FILE)
    kept = {name: tensor for name, tensor in weights.items() if "layers.1.self_attn.v_proj" not in name}
    save_file(kept, tmp_path / WEIGHTS_FILE)
    base = pico.pico_llama()
    if init:
        with adapter_attached(base, tmp_path) as attached:
            assert not torch.equal(answers(attached), answers(pico.pico_llama()))
        return
    with pytest.raises(CompositionError, match="at random"), adapter_attached(base, tmp_path):
        pass


def test_a_container_among_the_targets_is_refused_with_pefts_sentence(tmp_path):
    import json

    pico.write_kind(tmp_path, "few_targets")
    path = tmp_path / "adapter_config.json"
    fields = json.loads(path.read_text())
    path.write_text(json.dumps(fields | {"target_modules": ["q_proj", "v_proj", "mlp"]}))
    base = pico.pico_llama()
    before = state(base)
    with pytest.raises(CompositionError, match="is not supported") as refusal, adapter_attached(base, tmp_path):
        pass
    assert refusal.value.code == "adapter.does_not_load"
    assert unchanged(base, before)
