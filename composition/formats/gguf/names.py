"""How llama.cpp calls a module of a base that has this `config.json`, and the order of its rows.

Names and orders are those of `composition.merged_model.gguf_names`; here stands which architecture a config means.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from composition.errors import CompositionError
from composition.merged_model.gguf_names import HEAD, ORDERS, Order, name_map, needs_order, row_order, tensor_of


@dataclass(frozen=True, slots=True)
class Architecture:
    """llama.cpp's name of an architecture."""

    name: str

    @property
    def order(self) -> Order:
        """The order of its rows."""
        return ORDERS[self.name]


SAME_NAME = """
    arcee gemma gemma2 gemma3 gpt2 granite granitemoe llama olmo olmo2 olmoe phi3 qwen2 qwen3 seed_oss smollm3 stablelm
    starcoder2
""".split()
ARCHITECTURES: Mapping[str, Architecture] = {name: Architecture(name) for name in SAME_NAME} | {
    "cohere": Architecture("command-r"),
    "cohere2": Architecture("cohere2"),
    "exaone4": Architecture("exaone4"),
    "gemma3_text": Architecture("gemma3"),
    "gpt_neox": Architecture("gptneox"),
    "gpt_oss": Architecture("gpt-oss"),
    "llava": Architecture("llama"),
    "mistral": Architecture("llama"),
    "mixtral": Architecture("llama"),
    "olmo3": Architecture("olmo2"),
    "phi": Architecture("phi2"),
    "qwen2_5_vl": Architecture("qwen2vl"),
    "qwen2_moe": Architecture("qwen2moe"),
    "qwen2_vl": Architecture("qwen2vl"),
    "qwen3_moe": Architecture("qwen3moe"),
    "qwen3_vl": Architecture("qwen3vl"),
}
"""transformers' model_type → llama.cpp's architecture."""

TIED_BY_DEFAULT = ("gemma", "gemma2", "gemma3", "gemma3_text", "gpt2", "cohere", "cohere2")


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
        text = config.get("text_config")
        self.config: Mapping[str, Any] = {**config, **text} if isinstance(text, Mapping) else config
        self.architecture = ARCHITECTURES[kind]
        self._map = name_map(self.architecture.name, self._number("num_hidden_layers", "n_layer"))
        self._tied = config.get("tie_word_embeddings", self.config.get("tie_word_embeddings", kind in TIED_BY_DEFAULT))

    def tensor(self, module: str) -> str:
        """`blk.0.attn_q.weight` of `model.layers.0.self_attn.q_proj`. Raises CompositionError `form.gguf_module`."""
        found = tensor_of(self._map, module)
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
        order = self.architecture.order
        if not needs_order(order, tensor.removesuffix(".weight")):
            return None
        heads = self._number("num_attention_heads", "n_head")
        if tensor.endswith("attn_k.weight"):
            width = self.config.get("head_dim") or self._number("hidden_size") // heads
            heads = int(self.config.get("num_key_value_heads") or rows // width)
        return row_order(order, rows, heads)

    def _number(self, *names: str) -> int:
        found = next((self.config[name] for name in names if isinstance(self.config.get(name), int)), None)
        if found is None:
            raise CompositionError(
                "form.gguf_architecture",
                f"The base's config says no {names[0]}, which llama.cpp's order needs. "
                "Register the base with a config.json that says it.",
            )
        return found
