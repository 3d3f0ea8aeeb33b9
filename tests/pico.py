"""Pico models and adapters, made in milliseconds: a 2-layer llama, a 2-layer GPT-2 (Conv1D), LoRAs of every kind.

`write_adapter` makes one with peft itself and gives B random values, so that the adapter does something. Everything
is seeded; nothing is downloaded.
"""

from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, PreTrainedModel

BASE = "pico/llama"
ALL_LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]

KINDS: dict[str, dict[str, Any]] = {
    "plain": {"r": 4, "lora_alpha": 8},
    "rslora": {"r": 4, "lora_alpha": 8, "use_rslora": True},
    "rank_pattern": {"r": 4, "lora_alpha": 8, "rank_pattern": {"v_proj": 2, r"layers\.0\.self_attn\.q_proj": 6}},
    "alpha_pattern": {"r": 4, "lora_alpha": 8, "alpha_pattern": {"down_proj": 3, r"layers\.1\..*up_proj": 32}},
    "both_patterns": {
        "r": 4,
        "lora_alpha": 6,
        "use_rslora": True,
        "rank_pattern": {"k_proj": 3},
        "alpha_pattern": {"k_proj": 5, "o_proj": 1},
    },
    "regex": {"r": 4, "lora_alpha": 8, "target_modules": r".*layers\.1\.(self_attn|mlp)\.(q|down)_proj"},
    "one_layer": {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj"], "layers_to_transform": [0]},
    "few_targets": {"r": 8, "lora_alpha": 16, "target_modules": ["q_proj", "v_proj"]},
}
"""LoraConfig fields of adapters that can be merged from their files; targets are all seven projections by default."""


def pico_llama(seed: int = 0) -> LlamaForCausalLM:
    """2 layers, width 32, 4 heads of which 2 hold keys and values, 64 tokens; float32, eval."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=64,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=128,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    return LlamaForCausalLM(config).eval()


def pico_gpt2(seed: int = 0) -> GPT2LMHeadModel:
    """2 layers, width 32; its projections are Conv1D, whose weights stand [in, out]."""
    torch.manual_seed(seed)
    config = GPT2Config(vocab_size=64, n_embd=32, n_layer=2, n_head=4, n_positions=128, bos_token_id=1, eos_token_id=2)
    return GPT2LMHeadModel(config).eval()


def write_adapter(
    folder: Path,
    *,
    seed: int = 0,
    init_seed: int | None = None,
    model: PreTrainedModel | None = None,
    base_model: str = BASE,
    dtype: torch.dtype = torch.float32,
    b_scale: float = 0.2,
    **config: Any,
) -> Path:
    """Save a peft LoRA with these LoraConfig fields; `init_seed` seeds A (default: seed), `seed` seeds B."""
    model = pico_llama() if model is None else model
    torch.manual_seed(seed if init_seed is None else init_seed)
    settings = {"target_modules": ALL_LINEAR, "task_type": "CAUSAL_LM", "init_lora_weights": True, **config}
    adapted = get_peft_model(model, LoraConfig(**settings))
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in adapted.named_parameters():
        if "lora_" in name:
            if "lora_B" in name:
                parameter.data.normal_(0, b_scale, generator=generator)
            parameter.data = parameter.data.to(dtype)
    adapted.peft_config["default"].base_model_name_or_path = base_model
    adapted.save_pretrained(folder)
    return folder


def write_kind(folder: Path, kind: str, *, seed: int = 0, **more: Any) -> Path:
    """Save an adapter of one of KINDS."""
    return write_adapter(folder, seed=seed, **{**KINDS[kind], **more})


def tokens(batch: int = 2, length: int = 12, seed: int = 0) -> torch.Tensor:
    """Random token ids [batch, length] without the special ones."""
    return torch.randint(3, 64, (batch, length), generator=torch.Generator().manual_seed(seed))


def peft_logits(folder: Path, model: PreTrainedModel | None = None) -> torch.Tensor:
    """Logits of the saved adapter on a fresh base, run by peft."""
    adapted = PeftModel.from_pretrained(pico_llama() if model is None else model, str(folder)).eval()
    with torch.no_grad():
        return adapted(tokens()).logits


def delta_logits(deltas: dict[str, torch.Tensor], model: PreTrainedModel | None = None) -> torch.Tensor:
    """Logits of the base with ΔW [out, in] added to each named module's weight."""
    model = pico_llama() if model is None else model
    for name, delta in deltas.items():
        weight = model.get_submodule(name).weight
        weight.data += delta.T if _is_conv1d(model, name) else delta
    with torch.no_grad():
        return model(tokens()).logits


def _is_conv1d(model: PreTrainedModel, name: str) -> bool:
    return type(model.get_submodule(name)).__name__ == "Conv1D"
