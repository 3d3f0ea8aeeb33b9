"""A merged folder has the bits of peft's own `merge_and_unload`, for every kind of LoRA that a base can take."""

import json
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from composition.merged_model.write import export_merged
from tests.pico import KINDS, pico_gpt2, pico_llama, tokens, write_adapter, write_kind


def save_base(folder: Path, model=None, *, dtype=torch.float32, shard: str = "5GB", **config) -> Path:
    """A base's folder, in shards of at most `shard`."""
    model = (pico_llama() if model is None else model).to(dtype)
    for name, value in config.items():
        setattr(model.config, name, value)
    model.save_pretrained(folder, max_shard_size=shard)
    (folder / "tokenizer.json").write_text("{}")
    return folder


def by_peft(base: Path, adapter: Path, out: Path) -> dict[str, torch.Tensor]:
    """What peft merges and transformers saves, by the tensor's name."""
    model = AutoModelForCausalLM.from_pretrained(base, dtype="auto")
    PeftModel.from_pretrained(model, str(adapter)).merge_and_unload().save_pretrained(out)
    return stored(out)


def stored(folder: Path) -> dict[str, torch.Tensor]:
    return {name: t for path in sorted(folder.glob("*.safetensors")) for name, t in load_file(path).items()}


def assert_same_bits(ours: dict, theirs: dict) -> None:
    assert sorted(ours) == sorted(theirs)
    for name, tensor in theirs.items():
        assert ours[name].dtype == tensor.dtype, name
        assert torch.equal(ours[name].view(torch.uint8), tensor.view(torch.uint8)), name


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_every_kind_in_every_dtype(kind, dtype, tmp_path):
    base = save_base(tmp_path / "base", dtype=dtype)
    adapter = write_kind(tmp_path / "adapter", kind, dtype=dtype)
    export_merged(base, adapter, tmp_path / "ours")
    assert_same_bits(stored(tmp_path / "ours"), by_peft(base, adapter, tmp_path / "theirs"))


@pytest.mark.parametrize("of_adapter", [torch.float32, torch.bfloat16, torch.float16, torch.float64], ids=str)
def test_the_adapters_dtype_differs_from_the_bases(of_adapter, tmp_path):
    base = save_base(tmp_path / "base", dtype=torch.bfloat16)
    adapter = write_kind(tmp_path / "adapter", "plain", dtype=of_adapter)
    export_merged(base, adapter, tmp_path / "ours")
    assert_same_bits(stored(tmp_path / "ours"), by_peft(base, adapter, tmp_path / "theirs"))


@pytest.mark.parametrize("said", [True, False])
def test_conv1d_whose_weights_stand_the_other_way(said, tmp_path):
    """c_proj of attention is square: only the architecture tells that its ΔW is turned."""
    base = save_base(tmp_path / "base", pico_gpt2())
    targets = ["c_attn", "c_proj", "c_fc"]
    write_adapter(tmp_path / "adapter", model=pico_gpt2(), r=4, target_modules=targets, fan_in_fan_out=True)
    rewrite(tmp_path / "adapter", fan_in_fan_out=said)
    export_merged(base, tmp_path / "adapter", tmp_path / "ours")
    assert_same_bits(stored(tmp_path / "ours"), by_peft(base, tmp_path / "adapter", tmp_path / "theirs"))


@pytest.mark.parametrize(
    "config",
    [
        {"use_dora": True},
        {"lora_bias": True, "target_modules": ["c_attn", "c_fc"]},
        {"target_modules": ["wte", "lm_head", "c_attn"]},
        {"modules_to_save": ["lm_head"], "target_modules": ["c_fc"]},
        {"modules_to_save": ["wte", "lm_head"], "target_modules": ["c_fc"]},
        {"bias": "all", "target_modules": ["c_fc"]},
        {"bias": "lora_only", "target_modules": ["c_fc"]},
    ],
    ids=lambda config: " ".join(config)[:40] + str(config.get("target_modules", ""))[:20],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_what_more_than_factors_an_adapter_holds(config, dtype, tmp_path):
    model = untied_gpt2()
    base = save_base(tmp_path / "base", model, dtype=dtype)
    adapter = write_adapter(
        tmp_path / "adapter", model=untied_gpt2(), **{"r": 4, "target_modules": ["c_attn", "c_proj", "c_fc"], **config}
    )
    shake(adapter)
    export_merged(base, adapter, tmp_path / "ours")
    assert_same_bits(stored(tmp_path / "ours"), by_peft(base, adapter, tmp_path / "theirs"))


def untied_gpt2():
    torch.manual_seed(3)
    model = pico_gpt2()
    config = model.config
    config.tie_word_embeddings = False
    return type(model)(config).eval()


def shake(adapter: Path) -> None:
    """Whole layers, biases and magnitudes get values of their own, so that leaving one out shows."""
    path = adapter / "adapter_model.safetensors"
    generator = torch.Generator().manual_seed(5)
    tensors = {}
    for name, tensor in load_file(path).items():
        by = 0 if ".base_layer." in name else 0.1
        tensors[name] = tensor + by * torch.randn(tensor.shape, generator=generator).to(tensor.dtype)
    save_file(tensors, path, metadata={"format": "pt"})


def tie(adapter: Path) -> None:
    """What the head holds is again what the embedding holds."""
    path, start = adapter / "adapter_model.safetensors", "base_model.model."
    tensors = load_file(path)
    table, head = f"{start}model.embed_tokens", f"{start}lm_head"
    for one, other in (("lora_A.weight", "lora_embedding_B"), ("lora_B.weight", "lora_embedding_A")):
        if f"{head}.{one}" in tensors:
            tensors[f"{head}.{one}"] = tensors[f"{table}.{other}"].T.contiguous()
    if f"{head}.weight" in tensors:
        tensors[f"{head}.weight"] = tensors[f"{table}.weight"].clone()
    save_file(tensors, path, metadata={"format": "pt"})


def rewrite(adapter: Path, **fields) -> None:
    path = adapter / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def test_shards_keep_their_places_and_their_index(tmp_path):
    base = save_base(tmp_path / "base", shard="8KB", dtype=torch.bfloat16)
    adapter = write_kind(tmp_path / "adapter", "both_patterns")
    result = export_merged(base, adapter, tmp_path / "ours", name="tess/ab@v1")
    before, after = (json.loads((f / "model.safetensors.index.json").read_text()) for f in (base, tmp_path / "ours"))
    assert len(set(before["weight_map"].values())) > 2
    assert after["weight_map"] == before["weight_map"]
    assert after["metadata"]["total_size"] == before["metadata"]["total_size"] == result["bytes"]
    assert result["changed"] == 14
    assert_same_bits(stored(tmp_path / "ours"), by_peft(base, adapter, tmp_path / "theirs"))
    assert (tmp_path / "ours/tokenizer.json").read_text() == "{}"
    assert "tess/ab@v1" in (tmp_path / "ours/README.md").read_text()


TIED = {
    "embedding": {"target_modules": ["embed_tokens", "q_proj"]},
    "head": {"target_modules": ["lm_head", "q_proj"]},
    "both": {"target_modules": ["lm_head", "embed_tokens"]},
    "saved embedding": {"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens"]},
    "saved head": {"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]},
    "kept together": {"target_modules": ["embed_tokens", "q_proj"], "ensure_weight_tying": True},
    "saved together": {"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens"], "ensure_weight_tying": True},
}


def tied_llama():
    torch.manual_seed(2)
    config = pico_llama().config
    config.tie_word_embeddings = True
    from transformers import LlamaForCausalLM

    return LlamaForCausalLM(config).eval()


@pytest.mark.parametrize("case", TIED)
def test_tied_embeddings_give_what_the_attached_adapter_computes(case, tmp_path):
    base = save_base(tmp_path / "base", tied_llama())
    assert "lm_head.weight" not in stored(base)
    adapter = write_adapter(tmp_path / "adapter", model=tied_llama(), r=4, **TIED[case])
    shake(adapter)
    if case.endswith("together"):
        tie(adapter)
    attached = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), str(adapter)).eval()
    export_merged(base, adapter, tmp_path / "ours")
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "ours").eval()
    with torch.no_grad():
        torch.testing.assert_close(merged(tokens()).logits, attached(tokens()).logits, rtol=1e-4, atol=1e-5)
    assert merged.config.tie_word_embeddings == case.endswith("together")
