"""A base's config.json switches nothing on: no code, no kernel, no other file, no other model, at no depth.

The faults: `_attn_implementation` named a kernel that is fetched and run, `fusion_config` replaced classes of the
worker, `num_labels` made a thousand million objects there, and all of them again inside `text_config`.
"""

import json

import pytest

from composition.errors import CompositionError
from composition.formats.model_config import look_at
from hub.errors import Invalid
from hub.services import bases
from tests.hub import factories

KERNEL = "org/evil-kernel"
CODE = {
    "auto_map": {"AutoModel": "evil.Model"},
    "trust_remote_code": True,
    "_attn_implementation": KERNEL,
    "attn_implementation": f"{KERNEL}:function",
    "_attn_implementation_internal": "sdpa",
    "_experts_implementation": f"flash|{KERNEL}@main",
    "experts_implementation": "/tmp/kernel",
    "_experts_implementation_internal": KERNEL,
    "kernel_config": {"RMSNorm": KERNEL},
    "use_kernels": True,
    "custom_pipelines": {"x": {"impl": "evil.Pipeline"}},
    "custom_generate": KERNEL,
    "fusion_config": {"patch_embeddings": True},
    "distributed_config": {"tp_size": 8},
    "device_map": "auto",
    "transformers_weights": "other.safetensors",
    "gguf_file": "/etc/passwd",
    "configuration_files": ["config.4.0.0.json"],
    "backbone": "org/other-model",
    "attribute_map": {"hidden_size": "__class__"},
    "__class__": "x",
    "__dict__": {"a": 1},
}
WRONG = {
    "dtype": "load",
    "torch_dtype": {"a": []},
    "quantization_config": {"quant_method": ["x"]},
    "num_labels": 10**9,
    "num_hidden_layers": 10**6,
    "num_nextn_predict_layers": 1e9,
    "n_routed_experts": 10**9,
    "attention_types": [[["global"], 10**9]],
}


def places(key, value):
    """The field at the top, in a sub-config, in a list of them, and inside a quantisation's config."""
    yield {key: value}
    yield {"text_config": {key: value}}
    yield {"a": [{"b": [{"vision_config": {key: value}}]}]}
    if key not in WRONG:
        yield {"quantization_config": {"quant_method": "gptq", key: value}}


@pytest.mark.parametrize(("key", "value"), [*CODE.items(), *WRONG.items()], ids=lambda value: str(value)[:30])
def test_it_is_refused_at_any_depth(key, value):
    for config in places(key, value):
        with pytest.raises(CompositionError) as refusal:
            look_at({"model_type": "llama", **config})
        assert refusal.value.code == ("base.code" if key in CODE else "base.config"), config
        assert key in refusal.value.facts["where"] and len(refusal.value.message) < 600


@pytest.mark.parametrize("key", [key for key, value in CODE.items() if not key.startswith("__")])
def test_switched_off_it_is_no_harm(key):
    """The refusal's advice, or what real files hold: null, false, nothing."""
    for off in (None, False) if "implementation" not in key else (None,):
        look_at({"model_type": "llama", key: off})
    look_at({"model_type": "llama"})


ORDINARY = {
    "_attn_implementation_autoset": True,
    "_attn_implementation": "flash_attention_2",
    "_commit_hash": "0" * 40,
    "_flash_attn_2_enabled": True,
    "_name_or_path": "/home/me/checkpoints/3",
    "text_config": {"_attn_implementation": "sdpa", "_name_or_path": "", "hidden_size": 8},
}
KEPT = {
    "_name_or_path": "HuggingFaceTB/SmolLM2-135M",
    "torch_dtype": "bfloat16",
    "quantization_config": {"quant_method": "quark", "config": {"dtype": "fp8_e4m3"}},
    "vocab_size_per_layer_input": 262144,
    "custom_head": False,
    "time_step_limit": [0.0, {"__float__": "Infinity"}],
    "num_labels": 3,
    "layer_norm_eps": 1e-5,
    "vision_config": {"hidden_size": 8, "dtype": "float32"},
}


def test_what_ordinary_files_hold_is_dropped_or_kept():
    looked = look_at({"model_type": "llama", **ORDINARY})
    assert looked.config == {"model_type": "llama", "text_config": {"hidden_size": 8}}
    assert "text_config._attn_implementation" in looked.dropped and len(looked.dropped) == 7
    assert look_at({"model_type": "llama", **KEPT}).config == {"model_type": "llama", **KEPT}


@pytest.mark.django_db
def test_the_hub_keeps_what_is_left_and_knows_the_file_again(owner):
    own = {"actor": owner, "name": "org/pico"}
    base, _ = bases.register_base(**own, config={**factories.PICO_CONFIG, **ORDINARY})
    assert "_commit_hash" not in base.config and base.config["text_config"] == {"hidden_size": 8}
    for same in (ORDINARY, {"text_config": {"hidden_size": 8}}):
        assert bases.register_base(**own, config={**factories.PICO_CONFIG, **same})[0] == base
    # A row from before the check holds the file as it came.
    base.config = {**factories.PICO_CONFIG, **ORDINARY}
    base.save()
    assert bases.register_base(**own, config={**factories.PICO_CONFIG, **ORDINARY})[0] == base
    with pytest.raises(Invalid) as refusal:
        bases.register_base(**own, config={**factories.PICO_CONFIG, "fusion_config": {"a": True}})
    assert (refusal.value.code, refusal.value.facts["field"]) == ("base.code", "config")


@pytest.mark.slow
def test_no_config_that_transformers_writes_is_refused():
    """The default config of every architecture, as save_pretrained writes it; but for those that name a backbone."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    looked = 0
    for name in CONFIG_MAPPING:
        try:
            text = CONFIG_MAPPING[name]().to_json_string(use_diff=False)
        except Exception:  # needs arguments, or a library that is not here
            continue
        if '"backbone": "' not in text:
            look_at(json.loads(text))
            looked += 1
    assert looked > 300


@pytest.mark.parametrize("key", ["to_dict", "get_text_config", "save_pretrained"])
def test_a_worker_reads_no_method_s_replacement(key):
    from composition.running.base_models import module_shapes

    with pytest.raises(CompositionError, match=key) as refusal:
        module_shapes({**factories.PICO_CONFIG, key: 5})
    assert refusal.value.code == "base.config"


def test_loading_chooses_its_own_kernel_and_runs_no_code(tmp_path):
    """Defence in depth: a folder whose config asks for all of it loads as if it did not."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from composition.running.base_models import load_base
    from tests.transfer.toy import tokenizer

    plain = {key: value for key, value in factories.PICO_CONFIG.items() if key != "model_type"}
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model("llama", **plain))
    model.save_pretrained(tmp_path)
    tokenizer().save_pretrained(tmp_path)
    file = tmp_path / "config.json"
    asked = {"_attn_implementation": KERNEL, "attn_implementation": KERNEL, "_experts_implementation": KERNEL}
    asked |= {"fusion_config": {"a": True}, "transformers_weights": "x.safetensors"}
    asked |= {"auto_map": {"AutoModelForCausalLM": "evil.M"}}
    file.write_text(json.dumps(json.loads(file.read_text()) | asked))
    loaded, _ = load_base(tmp_path)
    assert loaded.config._attn_implementation in ("sdpa", "eager")
    ids = torch.tensor([[1, 2, 3]])
    assert torch.equal(loaded(ids).logits, model.eval()(ids).logits)


@pytest.mark.parametrize(
    "fields",
    [
        {"peft_type": "MULTITASK_PROMPT_TUNING", "prompt_tuning_init_state_dict_path": "/etc/passwd"},
        {"peft_type": "MULTITASK_PROMPT_TUNING", "prompt_tuning_init": "EXACT_SOURCE_TASK"},
        {"peft_type": "SHADOW", "shadow_model": "org/any-model"},
        {"peft_type": "LORA", "runtime_config": {"a": [{"trust_remote_code": True}]}},
    ],
    ids=str,
)
def test_no_adapter_s_config_makes_peft_read_elsewhere(fields):
    from composition.formats.peft.config import parse_peft_config

    name = [*fields][-1]
    with pytest.raises(CompositionError, match="Remove the field") as refusal:
        parse_peft_config(json.dumps({**fields, "target_modules": ["q_proj"]}).encode())
    assert refusal.value.code == "config.code"
    off = {name: "mirror" if name == "shadow_model" else None}
    parse_peft_config(json.dumps({**fields, "target_modules": ["q_proj"], **off}).encode())
