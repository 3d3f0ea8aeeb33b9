"""How llama.cpp calls a module of a base, and in which order it keeps the rows of its weight.

Names come from the tables of the package `gguf`, which llama.cpp's own converter uses. The rows differ from
transformers' in two families, as that converter writes their weights:

    rotary    Llama and its kin: in q and k the two halves of each head are interleaved
    fused     GPT-NeoX: query_key_value goes from (head, q|k|v, row) to (q|k|v, head, row)

A LoRA's ΔW must be in the same order, so the rows of B are. Architectures that are not listed are refused: their names
may be known, their order is not.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from composition.errors import CompositionError

Order = Literal["plain", "rotary", "fused"]


@dataclass(frozen=True, slots=True)
class Architecture:
    """llama.cpp's name of an architecture, and the order of its rows."""

    name: str
    order: Order = "plain"


ROTARY = {name: Architecture("llama", "rotary") for name in ("llama", "mistral", "mixtral", "llava")}
ROTARY |= {name: Architecture(name, "rotary") for name in ("granite", "granitemoe", "smollm3", "arcee", "olmo")}
SAME_NAME = """gemma gemma2 gemma3 gpt2 olmo2 olmoe phi3 qwen2 qwen3 seed_oss stablelm starcoder2""".split()
PLAIN = {name: Architecture(name) for name in SAME_NAME} | {
    "cohere": Architecture("command-r"),
    "cohere2": Architecture("cohere2"),
    "exaone4": Architecture("exaone4"),
    "gemma3_text": Architecture("gemma3"),
    "gpt_oss": Architecture("gpt-oss"),
    "olmo3": Architecture("olmo2"),
    "phi": Architecture("phi2"),
    "qwen2_5_vl": Architecture("qwen2vl"),
    "qwen2_moe": Architecture("qwen2moe"),
    "qwen2_vl": Architecture("qwen2vl"),
    "qwen3_moe": Architecture("qwen3moe"),
    "qwen3_vl": Architecture("qwen3vl"),
}
ARCHITECTURES: Mapping[str, Architecture] = ROTARY | PLAIN | {"gpt_neox": Architecture("gptneox", "fused")}
"""transformers' model_type → llama.cpp's architecture."""

TIED_BY_DEFAULT = ("gemma", "gemma2", "gemma3", "gemma3_text", "gpt2", "cohere", "cohere2")
TEXT_PREFIXES = ("model.language_model.", "language_model.model.", "language_model.")
HEAD = "output"


class GgufNames:
    """The names of one base. Raises CompositionError `form.gguf_architecture` for one that is not listed."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        kind = str(config.get("model_type"))
        if kind not in ARCHITECTURES:
            raise CompositionError(
                "form.gguf_architecture",
                f"How llama.cpp keeps the weights of a {kind} model is not known here; known are "
                f"{', '.join(sorted(ARCHITECTURES))}. Convert the adapter with llama.cpp's convert_lora_to_gguf.py.",
            )
        import gguf

        text = config.get("text_config")
        self.config: Mapping[str, Any] = {**config, **text} if isinstance(text, Mapping) else config
        self.architecture = ARCHITECTURES[kind]
        keys = {name: key for key, name in gguf.MODEL_ARCH_NAMES.items()}
        layers = self._number("num_hidden_layers", "n_layer")
        self._map = gguf.get_tensor_name_map(keys[self.architecture.name], layers)
        self._tied = config.get("tie_word_embeddings", self.config.get("tie_word_embeddings", kind in TIED_BY_DEFAULT))

    def tensor(self, module: str) -> str:
        """`blk.0.attn_q.weight` of `model.layers.0.self_attn.q_proj`. Raises CompositionError `form.gguf_module`."""
        name = next((f"model.{module[len(p) :]}" for p in TEXT_PREFIXES if module.startswith(p)), module)
        found = next((known for other in (name, f"model.{name}") if (known := self._map.get_name(other))), None)
        if found is None:
            raise CompositionError(
                "form.gguf_module",
                f"llama.cpp has no tensor of its own for {module} in the architecture {self.architecture.name}, so a "
                "GGUF file can't adapt it. Merge the adapter into its base instead: hubctl export merged.",
                module=module,
            )
        if found == HEAD and self._tied:
            raise CompositionError(
                "form.gguf_module",
                f"{module} is tied to the embedding in this base, and llama.cpp can't adapt the one without the "
                "other. Merge the adapter into its base instead: hubctl export merged.",
                module=module,
            )
        return f"{found}.weight"

    def row_order(self, tensor: str, rows: int) -> np.ndarray | None:
        """For each row of llama.cpp's weight which row of transformers' it is, in a block that repeats; None: as is."""
        heads = self._number("num_attention_heads", "n_head")
        last = tensor.split(".")[-2]
        if self.architecture.order == "rotary" and last in ("attn_q", "attn_k"):
            width = self.config.get("head_dim") or self._number("hidden_size") // heads
            count = heads if last == "attn_q" else int(self.config.get("num_key_value_heads") or rows // width)
            return np.arange(rows // count).reshape(2, -1).T.reshape(-1)
        if self.architecture.order == "fused" and last == "attn_qkv":
            return np.arange(rows).reshape(heads, 3, -1).swapaxes(0, 1).reshape(-1)
        return None

    def _number(self, *names: str) -> int:
        found = next((self.config[name] for name in names if isinstance(self.config.get(name), int)), None)
        if found is None:
            raise CompositionError(
                "form.gguf_architecture",
                f"The base's config says no {names[0]}, which llama.cpp's order needs. "
                "Register the base with a config.json that says it.",
            )
        return found
