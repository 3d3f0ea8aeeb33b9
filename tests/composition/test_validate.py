"""Adapters that must pass, with the facts they pass with: from peft itself, of every kind, on a real base's shapes."""

import json
import subprocess
import sys

import numpy as np
import pytest

from composition.errors import CompositionError
from composition.facts import AdapterFacts
from composition.formats.validate import MemoryFile, local_files, validate_adapter
from tests.uploads import CONFIG, PICO_CONFIG, PREFIX, SHAPES, WEIGHTS, adapter, tensors

ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def check(files, shapes=SHAPES):
    return validate_adapter({name: MemoryFile(data) for name, data in files.items()}, base_shapes=shapes)


def refusal(files, shapes=SHAPES):
    with pytest.raises(CompositionError) as caught:
        check(files, shapes)
    return caught.value


@pytest.fixture(scope="module")
def shapes():
    """The pico base's shapes as the hub computes them from its config.json."""
    from composition.running.base_models import module_shapes

    return module_shapes(PICO_CONFIG)


def test_the_shapes_of_the_corpus_are_those_of_its_base(shapes):
    assert shapes == SHAPES


def test_facts_of_a_plain_adapter():
    facts = check(adapter(use_rslora=True, rank_pattern={}))
    assert facts.peft_type == "LORA"
    assert sorted(facts.modules) == sorted(
        f"model.layers.{layer}.self_attn.{name}" for layer in (0, 1) for name in ("q_proj", "v_proj")
    )
    module = facts.modules["model.layers.1.self_attn.v_proj"]
    assert (module.r, module.in_features, module.out_features) == (4, 32, 16)
    assert module.scale == pytest.approx(8 / 2)
    assert (facts.ranks, facts.dtype, facts.target_modules) == ((4, 4), "F16", ["q_proj", "v_proj"])
    assert facts.parameters == sum(array.size for array in tensors().values())
    assert facts.bytes == len(adapter()[WEIGHTS])
    assert (facts.base_model_name, facts.task_type, facts.lora_alpha) == ("pico/llama", "CAUSAL_LM", 8)
    assert AdapterFacts.from_dict(json.loads(json.dumps(facts.to_dict()))) == facts


PEFT_TABLE = [
    ({}, []),
    ({"use_rslora": True}, []),
    ({"rank_pattern": {"q_proj": 2}, "alpha_pattern": {"k_proj": 3}}, []),
    ({"target_modules": r".*\.(q|down)_proj"}, []),
    ({"target_modules": "all-linear"}, []),
    ({"layers_to_transform": [1]}, []),
    ({"init_lora_weights": "gaussian"}, []),
    ({"init_lora_weights": "orthogonal"}, []),
    ({"init_lora_weights": "mica"}, []),
    ({"velora_config": {"num_groups": 4}}, []),
    ({"use_dora": True}, ["dora"]),
    ({"init_lora_weights": "pissa"}, ["pissa"]),
    ({"init_lora_weights": "pissa_niter_2"}, ["pissa"]),
    ({"init_lora_weights": "olora"}, ["olora"]),
    ({"bias": "all"}, ["bias"]),
    ({"bias": "lora_only"}, ["bias"]),
    ({"lora_bias": True}, ["lora_bias"]),
    ({"modules_to_save": ["lm_head"]}, ["modules_to_save"]),
    ({"trainable_token_indices": [1, 2]}, ["trainable_tokens"]),
    ({"target_modules": ["q_proj", "embed_tokens"]}, ["embedding", "full_weights"]),
    ({"target_modules": ["q_proj", "lm_head"]}, ["full_weights"]),
    ({"kasa_config": {}}, ["kasa"]),
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("fields", "codes"), PEFT_TABLE, ids=lambda value: json.dumps(value)[:60])
def test_what_peft_saves_passes(fields, codes, tmp_path, shapes):
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoConfig, LlamaForCausalLM

    torch.set_num_threads(1)
    base = AutoConfig.for_model("llama", **{k: v for k, v in PICO_CONFIG.items() if k != "model_type"})
    lora = LoraConfig(**{"r": 4, "target_modules": ALL, "task_type": "CAUSAL_LM"} | fields)
    model = get_peft_model(LlamaForCausalLM(base), lora)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight += 0.1
    model.save_pretrained(tmp_path)
    facts = validate_adapter(local_files(tmp_path), base_shapes=shapes)
    assert [entry["code"] for entry in facts.needs_base] == codes
    assert facts.warnings == []
    layers = {n.removeprefix("base_model.model."): m for n, m in model.named_modules() if hasattr(m, "lora_A")}
    assert {n: (m.r, m.scale) for n, m in facts.modules.items()} == {
        n: (m.r["default"], pytest.approx(m.scaling["default"])) for n, m in layers.items()
    }


@pytest.mark.filterwarnings("ignore")
def test_conv1d_of_gpt2_fits_its_base(tmp_path):
    """fan_in_fan_out: the base stores [in, out]; A and B do not, and neither do the base's shapes."""
    from peft import LoraConfig, get_peft_model

    from composition.running.base_models import module_shapes
    from tests.pico import pico_gpt2

    base = pico_gpt2()
    lora = LoraConfig(r=2, target_modules=["c_attn", "c_proj"], fan_in_fan_out=True, init_lora_weights=False)
    get_peft_model(base, lora).save_pretrained(tmp_path)
    facts = validate_adapter(local_files(tmp_path), base_shapes=module_shapes(json.loads(base.config.to_json_string())))
    module = facts.modules["transformer.h.0.attn.c_attn"]
    assert (module.in_features, module.out_features) == (32, 96)
    assert facts.needs_base == []


@pytest.mark.filterwarnings("ignore")
def test_convolutions_are_stored_and_not_merged(tmp_path):
    from peft import LoraConfig, get_peft_model
    from torch import nn

    base = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(8, 4))
    get_peft_model(base, LoraConfig(r=2, target_modules=["0", "2"], init_lora_weights=False)).save_pretrained(tmp_path)
    with pytest.raises(CompositionError, match="auto_mapping is refused"):  # peft names the class's home: torch.nn
        validate_adapter(local_files(tmp_path))
    written = json.loads((tmp_path / CONFIG).read_text())
    (tmp_path / CONFIG).write_text(json.dumps(written | {"auto_mapping": None}))
    files = local_files(tmp_path)
    facts = validate_adapter(files, base_shapes={"0": [8, 3, 3, 3], "2": [4, 8]})
    assert [entry["code"] for entry in facts.needs_base] == ["conv"]
    assert "(0)" in facts.needs_base[0]["reason"]
    with pytest.raises(CompositionError, match=r"0 is \[8, 3, 3, 3\], expected \[8, 3, 5, 5\]"):
        validate_adapter(files, base_shapes={"0": [8, 3, 5, 5], "2": [4, 8]})


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["IA3Config", "LoHaConfig", "VeraConfig", "AdaLoraConfig", "PrefixTuningConfig"])
def test_other_methods_of_peft_are_stored_and_not_merged(kind, tmp_path, shapes):
    import peft

    from tests.pico import pico_llama

    more = {"num_virtual_tokens": 4} if kind.startswith("Prefix") else {"target_modules": ["q_proj", "v_proj"]}
    more |= {"feedforward_modules": []} if kind == "IA3Config" else {}
    more |= {"total_step": 10} if kind == "AdaLoraConfig" else {}
    model = peft.get_peft_model(pico_llama(), getattr(peft, kind)(task_type="CAUSAL_LM", **more))
    model.save_pretrained(tmp_path)
    facts = validate_adapter(local_files(tmp_path), base_shapes=shapes)
    assert [entry["code"] for entry in facts.needs_base] == ["not_lora"]
    assert facts.modules == {}
    assert facts.peft_type in facts.needs_base[0]["reason"]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("prefix", ["", PREFIX])
@pytest.mark.parametrize("inner", ["", ".default"])
def test_other_spellings_of_names_are_read_where_peft_reads_them_and_refused_where_it_does_not(prefix, inner, tmp_path):
    import torch
    from peft import PeftModel
    from transformers import AutoConfig, LlamaForCausalLM

    spelt = {
        prefix + name.removeprefix(PREFIX).replace(".weight", f"{inner}.weight"): array
        for name, array in tensors().items()
    }
    try:
        accepted = check(adapter(spelt)).modules == check(adapter()).modules
    except CompositionError as refusal:
        accepted = refusal.code != "adapter.names"
    for name, data in adapter(spelt).items():
        (tmp_path / name).write_bytes(data)
    base = AutoConfig.for_model("llama", **{k: v for k, v in PICO_CONFIG.items() if k != "model_type"})
    model = PeftModel.from_pretrained(LlamaForCausalLM(base), tmp_path)
    loaded = model.base_model.model.model.layers[0].self_attn.q_proj.lora_B["default"].weight
    assert (torch.count_nonzero(loaded) > 0) == accepted


def test_untrained_mixed_and_unused_are_warned_about():
    zero = {name: array * 0 if "lora_B" in name else array for name, array in tensors().items()}
    assert ["zero" in warning for warning in check(adapter(zero)).warnings] == [True]
    mixed = {name: array.astype(np.float32) if "layers.1" in name else array for name, array in tensors().items()}
    assert "mix dtypes: F16, F32" in check(adapter(mixed)).warnings[0]
    assert (
        "rank_pattern has keys that match no adapted module: k_proj"
        in check(adapter(rank_pattern={"k_proj": 4})).warnings[0]
    )


def test_modules_of_the_base_that_stay_unadapted_are_counted():
    half = {name: array for name, array in tensors().items() if "layers.0" in name or "q_proj" in name}
    (warning,) = check(adapter(half)).warnings
    assert warning.startswith("1 modules that target_modules picks have no factors")
    assert "model.layers.1.self_attn.v_proj" in warning


def test_the_first_three_offenders_are_named_and_counted():
    wrong = {n: np.ones((4, 48), np.float16) if "lora_A" in n else a for n, a in tensors().items()}
    error = refusal(adapter(wrong))
    assert error.code == "adapter.shape"
    assert error.facts["count"] == 4
    assert len(error.facts["tensors"]) == 3
    assert error.facts["tensors"][0] == {
        "module": "model.layers.0.self_attn.q_proj",
        "given": [32, 48],
        "expected": [32, 32],
    }
    assert "model.layers.0.self_attn.q_proj is [32, 48], expected [32, 32]" in error.message


def test_a_module_the_base_lacks_is_told_with_what_it_has():
    other = {name.replace("model.layers", "transformer.h"): array for name, array in tensors().items()}
    error = refusal(adapter(other))
    assert "transformer.h.0.self_attn.q_proj" in error.message
    assert "model.layers.0.self_attn.q_proj" in error.message


def test_extra_files_of_a_real_push_pass():
    extra = {
        "README.md": b"---\nlicense: mit\n---\n# Card",
        "tokenizer.json": b"{}",
        "tokenizer_config.json": b'{"chat_template": "x"}',
        "chat_template.jinja": b"{% for m in messages %}{% endfor %}",
        "special_tokens_map.json": b"{}",
        ".gitattributes": b"*.safetensors filter=lfs",
        "images/loss.png": b"\x89PNG\r\n\x1a\n",
    }
    assert check(adapter() | extra).warnings == []


def test_a_link_to_a_file_counts_as_the_file_and_other_links_as_nothing(tmp_path):
    """A snapshot in the Hugging Face cache holds links alone."""
    (tmp_path / "blobs").mkdir()
    (tmp_path / "blobs" / "ab12").write_text("x")
    folder = tmp_path / "snapshot"
    folder.mkdir()
    (folder / "a.txt").symlink_to("../blobs/ab12")
    (folder / "gone.txt").symlink_to("../blobs/cd34")
    (folder / "folder").symlink_to(tmp_path / "blobs")
    assert list(local_files(folder)) == ["a.txt"]


def test_no_torch_is_loaded():
    modules = "strict_json regex_cost sources safetensors_header content finite gate table dataset.files validate"
    own = "patterns types fields config tensors fit files"
    names = [*modules.split(), *(f"peft.{name}" for name in own.split())]
    code = f"import sys\nfor name in {names}: __import__('composition.formats.' + name)\n"
    code += "from composition.formats import FORMATS\nassert len(FORMATS) > 3\n"
    code += "bad = [m for m in ('torch', 'transformers', 'peft', 'safetensors', 'django') if m in sys.modules]\n"
    subprocess.run([sys.executable, "-c", code + "assert not bad, bad"], check=True, timeout=60)
