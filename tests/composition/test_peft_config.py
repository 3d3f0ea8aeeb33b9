"""Ranks, alphas, scales and targets of a config against the installed peft, on a real pico model."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from composition.errors import CompositionError
from composition.formats.peft import patterns
from composition.formats.peft.checks.unknown_fields import LORA_FIELDS
from composition.formats.peft.config import parse_peft_config
from composition.formats.peft.types import MIXTURES, PEFT_TYPES, TASK_TYPES
from tests.uploads import PICO_CONFIG, config

LAYER_0 = "model.layers.0.self_attn"
TABLE = [
    {"target_modules": ["q_proj", "v_proj"]},
    {"target_modules": ["self_attn.q_proj", "down_proj"], "use_rslora": True},
    {"target_modules": [f"{LAYER_0}.q_proj", "k_proj"], "layers_to_transform": [1]},
    {"target_modules": ["q_proj"], "layers_to_transform": 1, "layers_pattern": "layers"},
    {"target_modules": ["q_proj"], "layers_to_transform": [0, 1], "layers_pattern": ["blocks", "layers"]},
    {"target_modules": ["q_proj"], "layers_to_transform": []},
    {"target_modules": r".*\.(q|v)_proj"},
    {"target_modules": r"model\.layers\.\d+\.mlp\.(up|down)_proj", "use_rslora": True},
    {"target_modules": "all-linear"},
    {"target_modules": "ALL-LINEAR"},
    {"target_modules": ["q_proj", "v_proj"], "exclude_modules": ["layers.1.self_attn.q_proj"]},
    {"target_modules": ["q_proj", "v_proj"], "exclude_modules": r".*\.1\..*q_proj"},
    {"target_modules": ["lm_head", "q_proj", "up_proj"], "modules_to_save": ["lm_head"]},
    {"target_modules": ["embed_tokens", "q_proj"]},
    {"target_modules": ["q_proj", "k_proj"], "rank_pattern": {"q_proj": 2}, "alpha_pattern": {"k_proj": 3}},
    {"target_modules": ["q_proj", "k_proj"], "rank_pattern": {"layers.0.self_attn.q_proj": 2, "q_proj": 3}},
    {"target_modules": ["q_proj", "k_proj"], "rank_pattern": {"q.proj": 3, "q_proj": 2, "k_proj": 1}},
    {"target_modules": ["q_proj", "k_proj"], "rank_pattern": {"proj": 2, "_proj": 2, "self.attn.q_proj": 5}},
    {"target_modules": ["q_proj", "up_proj"], "rank_pattern": {r"layers\.\d+\.self_attn\.q_proj": 6, "^up_proj": 1}},
    {"target_modules": ["q_proj", "up_proj"], "alpha_pattern": {r"^model\.layers\.1\..*": 5, "up_proj|q_proj": 7}},
    {
        "target_modules": ["q_proj", "v_proj"],
        "use_rslora": True,
        "rank_pattern": {"q_proj": 9},
        "alpha_pattern": {"q_proj": 2, f"{LAYER_0}.v_proj": 32},
    },
]


@pytest.fixture(scope="module")
def pico():
    """Makes fresh pico models: peft changes those it wraps."""
    import torch
    from transformers import AutoConfig, LlamaForCausalLM

    torch.set_num_threads(1)
    fields = {key: value for key, value in PICO_CONFIG.items() if key != "model_type"}
    return lambda: LlamaForCausalLM(AutoConfig.for_model("llama", **fields))


def peft_layers(model):
    """Module → (r, scaling) as peft made them."""
    from peft.tuners.lora.layer import LoraLayer

    return {
        name.removeprefix("base_model.model."): (layer.r["default"], layer.scaling["default"])
        for name, layer in model.named_modules()
        if isinstance(layer, LoraLayer)
    }


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("fields", TABLE, ids=lambda fields: json.dumps(fields)[:70])
def test_targets_ranks_and_scales_are_those_of_peft(fields, pico, tmp_path):
    from peft import LoraConfig, get_peft_model
    from torch import nn

    written = config(r=4, lora_alpha=8, **fields)
    ours = parse_peft_config(written)
    linear = [name for name, module in pico().named_modules() if isinstance(module, nn.Linear | nn.Embedding)]
    wrapped = get_peft_model(pico(), LoraConfig(r=4, lora_alpha=8, task_type="CAUSAL_LM", **fields))
    theirs = peft_layers(wrapped)
    assert theirs
    if str(fields["target_modules"]).lower() == "all-linear":
        assert all(ours.targets(name) for name in theirs)
    else:
        assert {name for name in linear if ours.targets(name)} == set(theirs)
    for name, (rank, scaling) in theirs.items():
        assert ours.rank(name) == rank
        assert ours.scale(name) == pytest.approx(scaling, rel=1e-12)
    wrapped.save_pretrained(tmp_path, save_embedding_layers=False)
    saved = parse_peft_config((tmp_path / "adapter_config.json").read_bytes())
    from peft import PeftModel

    for name, (rank, scaling) in peft_layers(PeftModel.from_pretrained(pico(), tmp_path)).items():
        assert (saved.rank(name), saved.scale(name)) == (rank, pytest.approx(scaling, rel=1e-12))


@pytest.mark.filterwarnings("ignore")
def test_an_order_that_peft_loses_by_saving_is_refused(pico, tmp_path):
    """peft sorts the keys when it saves, the first match wins, and then it can't load its own file: nor do we."""
    from peft import LoraConfig, PeftModel, get_peft_model

    from composition.formats.validate import local_files, validate_adapter

    ranks = {"q_proj": 3, "layers.0.self_attn.q_proj": 2}
    model = get_peft_model(pico(), LoraConfig(r=4, target_modules=["q_proj"], rank_pattern=ranks))
    assert {rank for rank, _ in peft_layers(model).values()} == {3}
    model.save_pretrained(tmp_path)
    with pytest.raises(RuntimeError, match="size mismatch"):
        PeftModel.from_pretrained(pico(), tmp_path)
    with pytest.raises(CompositionError, match=r"q_proj \(rank 3, config says 2\)") as caught:
        validate_adapter(local_files(tmp_path))
    assert caught.value.code == "adapter.rank"


KEYS = ["q.proj", "q_proj", r"layers\.\d+\.q_proj", "^a.q_proj", "a.q_proj", ".q_proj", "q|v", "(?:v)_proj"]
KEYS += ["layers.1.q_proj", "s.1.q_proj", "q_proj$", r"a\.q_proj", "1", "[qv]_proj", "q_pro", "(?=q)q_proj", "Q_PROJ"]
PARTS = st.sampled_from(["q_proj", "v_proj", "a", "layers", "1", "q", "v", "xq_proj", "q.proj", "qXproj", "0", "score"])
MODULES = st.lists(PARTS, min_size=1, max_size=4).map(".".join)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(KEYS), unique=True, max_size=6), MODULES)
def test_pattern_keys_are_found_as_peft_finds_them(keys, module):
    from peft.utils.other import get_pattern_key

    assert patterns.KeyTable(keys).find(module) == get_pattern_key(keys, module)


NAMES = st.lists(st.lists(PARTS, min_size=1, max_size=2).map(".".join), max_size=3, unique=True)


@settings(max_examples=300, deadline=None)
@given(
    MODULES,
    NAMES.filter(bool),
    NAMES,
    NAMES,
    st.none() | st.integers(0, 1) | st.lists(st.integers(0, 1), max_size=2),
    st.none() | st.sampled_from([[], ["layers"], ["a", "layers"], "layers", ""]),
)
def test_targets_are_those_of_check_target_module_exists(module, targets, excluded, saved, layers, layers_pattern):
    from peft import LoraConfig
    from peft.tuners.tuners_utils import check_target_module_exists

    fields = {
        "target_modules": targets,
        "exclude_modules": excluded or None,
        "modules_to_save": saved or None,
        "layers_to_transform": layers,
        "layers_pattern": layers_pattern if layers is not None else None,
    }
    theirs = LoraConfig(**fields)
    assert parse_peft_config(config(**fields)).targets(module) == bool(check_target_module_exists(theirs, module))


def test_the_names_are_those_of_the_installed_peft():
    import dataclasses

    from peft import LoraConfig, PeftType, TaskType

    assert {kind.value for kind in PeftType} - MIXTURES.keys() == PEFT_TYPES
    assert {kind.value for kind in TaskType} == TASK_TYPES
    assert {field.name for field in dataclasses.fields(LoraConfig)} == LORA_FIELDS


def codes(**fields):
    return [entry["code"] for entry in parse_peft_config(config(**fields)).needs_base()]


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"use_dora": True}, "dora"),
        ({"init_lora_weights": "pissa"}, "pissa"),
        ({"init_lora_weights": "pissa_niter_16"}, "pissa"),
        ({"init_lora_weights": "olora"}, "olora"),
        ({"init_lora_weights": "OLoRA"}, "olora"),
        ({"init_lora_weights": "corda", "corda_config": {"corda_method": "kpm"}}, "corda"),
        ({"init_lora_weights": "lora_ga", "lora_ga_config": {}}, "lora_ga"),
        ({"init_lora_weights": "loftq", "loftq_config": {"loftq_bits": 4}}, "loftq"),
        ({"kasa_config": {}}, "kasa"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"bias": "all"}, "bias"),
        ({"bias": "lora_only"}, "bias"),
        ({"lora_bias": True}, "lora_bias"),
        ({"trainable_token_indices": [1, 2]}, "trainable_tokens"),
        ({"trainable_token_indices": {"embed_tokens": [1]}}, "trainable_tokens"),
        ({"target_parameters": ["mlp.experts.gate_up_proj"]}, "target_parameters"),
        ({"alora_invocation_tokens": [5]}, "alora"),
        ({"use_qalora": True}, "qalora"),
        ({"use_bdlora": {"nblocks": 2}}, "bdlora"),
        ({"monteclora_config": {}}, "monteclora"),
        ({"arrow_config": {"top_k": 2}}, "arrow"),
        ({"layer_replication": [[0, 2], [1, 2]]}, "layer_replication"),
        ({"peft_type": "IA3"}, "not_lora"),
        ({"peft_type": "PROMPT_TUNING", "target_modules": ...}, "not_lora"),
    ],
)
def test_what_needs_the_base_says_so_and_says_what_to_do(fields, code):
    assert codes(**fields) == [code]
    entry = parse_peft_config(config(**fields)).needs_base()[0]
    assert entry["reason"].endswith(".")
    assert entry["do"].endswith(".")
    assert "{" not in entry["reason"]


def test_every_reason_is_shown_at_once():
    assert codes(use_dora=True, bias="all", modules_to_save=["score"]) == ["dora", "modules_to_save", "bias"]


@pytest.mark.parametrize(
    "fields",
    [
        {},
        *({"init_lora_weights": start} for start in (True, False, "gaussian", "eva", "orthogonal", "mica")),
        {"use_rslora": True},
        {"fan_in_fan_out": True},
        {"velora_config": {}},
        {"trainable_token_indices": []},
        {"modules_to_save": []},
        {"layer_replication": None},
        {"auto_mapping": {"parent_library": "transformers.models.llama.modeling_llama", "base_model_class": "X"}},
        {"megatron_core": "megatron.core", "megatron_config": None},
        {"lora_alpha": 16.5},
        {"unknown_field": 1},
    ],
    ids=str,
)
def test_what_stands_on_its_own_passes(fields):
    assert codes(**fields) == []


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("start", ["pissa", "olora"])
def test_converted_starts_are_plain(start, pico, tmp_path):
    """What `path_initial_model_for_weight_conversion` writes is a plain LoRA of twice the rank, and passes as one."""
    import torch
    from peft import LoraConfig, get_peft_model

    from composition.formats.validate import local_files, validate_adapter
    from tests.uploads import SHAPES

    model = get_peft_model(pico(), LoraConfig(r=4, target_modules=["q_proj"], init_lora_weights=start))
    plain = tmp_path / "as it is"
    model.save_pretrained(plain)
    needs = validate_adapter(local_files(plain), base_shapes=SHAPES).needs_base
    assert [entry["code"] for entry in needs] == [start]
    model.peft_config["default"].init_lora_weights = True
    model.save_pretrained(tmp_path / "initial")
    model.peft_config["default"].init_lora_weights = start
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_" in name:
                weight += 0.01 * torch.randn_like(weight)
    out = tmp_path / "converted"
    model.save_pretrained(out, path_initial_model_for_weight_conversion=str(tmp_path / "initial"))
    facts = validate_adapter(local_files(out), base_shapes=SHAPES)
    assert facts.needs_base == []
    assert facts.ranks == (8, 8)


@pytest.mark.parametrize("name", ["../models/llama", "/home/me/llama", "C:\\llama", "https://x.org/llama", "a/b/c"])
def test_a_path_as_base_is_a_warning_and_is_never_opened(name):
    found = parse_peft_config(config(base_model_name_or_path=name))
    assert found.base_model_name == name
    assert len(found.warnings) == 1
    assert "never opened" in found.warnings[0]


def test_the_raw_config_is_kept_and_defaults_are_peft_s():
    from peft import LoraConfig

    found = parse_peft_config(b'{"peft_type": "LORA", "target_modules": ["q_proj"], "new_field": {"a": 1}}')
    assert found.raw["new_field"] == {"a": 1}
    assert (found.r, found.lora_alpha) == (LoraConfig().r, LoraConfig().lora_alpha)
    assert len(found.warnings) == 3


def test_many_plain_rank_patterns_are_quick():
    import time

    modules = [f"model.layers.{layer}.mlp.experts.{expert}.up_proj" for layer in range(40) for expert in range(64)]
    start = time.process_time()
    found = parse_peft_config(config(target_modules=["up_proj"], rank_pattern=dict.fromkeys(modules, 2)))
    assert {found.rank(module) for module in modules} == {2}
    assert time.process_time() - start < 5
