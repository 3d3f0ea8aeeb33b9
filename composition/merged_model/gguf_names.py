"""How llama.cpp calls a module of a base, and in which order it keeps the rows of its weight.

Names come from the tables of the package `gguf`, which llama.cpp's own converter uses. The rows differ from
transformers' in two families, as that converter writes their weights:

    rotary    Llama and its kin: in q and k the two halves of each head are interleaved
    fused     GPT-NeoX: query_key_value goes from (head, q|k|v, row) to (q|k|v, head, row)

Architectures that are not listed are refused: their names may be known, their order is not.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy as np

Order = Literal["plain", "rotary", "fused"]

_ROTARY = "arcee granite granitemoe llama olmo smollm3".split()
_PLAIN = """
    cohere2 command-r exaone4 gemma gemma2 gemma3 gpt-oss gpt2 olmo2 olmoe phi2 phi3 qwen2 qwen2moe qwen2vl qwen3
    qwen3moe qwen3vl seed_oss stablelm starcoder2
""".split()
ORDERS: Mapping[str, Order] = {
    **dict.fromkeys(_ROTARY, "rotary"),
    **dict.fromkeys(_PLAIN, "plain"),
    "gptneox": "fused",
}
"""llama.cpp's architecture → the order of its rows."""

TEXT_PREFIXES = ("model.language_model.", "language_model.model.", "language_model.")
HEAD = "output"
TABLE = "token_embd"


def name_map(architecture: str, layers: int) -> Any:
    """The package's table of an architecture of `ORDERS`."""
    import gguf

    keys = {name: key for key, name in gguf.MODEL_ARCH_NAMES.items()}
    return gguf.get_tensor_name_map(keys[architecture], layers)


def tensor_of(names: Any, module: str) -> str | None:
    """`blk.0.attn_q` of `model.layers.0.self_attn.q_proj`; None where llama.cpp has no tensor of its own for it."""
    name = next((f"model.{module[len(p) :]}" for p in TEXT_PREFIXES if module.startswith(p)), module)
    return next((known for other in (name, f"model.{name}") if (known := names.get_name(other))), None)


def needs_order(order: Order, tensor: str) -> bool:
    """Whether llama.cpp keeps the rows of this tensor (`blk.0.attn_q`) in an order of its own."""
    last = tensor.rpartition(".")[2]
    return last in {"rotary": ("attn_q", "attn_k"), "fused": ("attn_qkv",), "plain": ()}[order]


def row_order(order: Order, rows: int, heads: int) -> "np.ndarray":
    """For each row of llama.cpp's weight which row of transformers' it is, in a block that repeats.

    `heads` are those of this weight: of k in `rotary` the key-value heads.
    """
    import numpy as np

    if order == "fused":
        return np.arange(rows).reshape(heads, 3, -1).swapaxes(0, 1).reshape(-1)
    return np.arange(rows // heads).reshape(2, -1).T.reshape(-1)
