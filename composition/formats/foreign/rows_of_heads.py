"""The order of the rows of q, k and v, which differs between transformers and the code that models are trained with.

rotary   Meta's code, Mistral's, torchtune's and llama.cpp's Llama rotate neighbours: a head's rows are interleaved,
         where transformers keeps its two halves apart (transformers' convert_llama_weights_to_hf.py, `permute`)
grouped  Megatron keeps q, k and v of one group of heads together (NeMo, `TransformFns.split_qkv`)
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

ROTARY = frozenset("llama mistral mixtral ministral gemma".split())
"""transformers' model_type of bases whose q and k were reordered when they were converted."""


@dataclass(frozen=True, slots=True)
class Heads:
    """How many heads a base has; `size` is the width of one, None where the config doesn't say."""

    query: int
    key: int
    size: int | None = None


def heads_of(config: Mapping[str, Any]) -> Heads | None:
    """The heads that a config.json (or Mistral's params.json) gives; None where it gives none."""
    text = config.get("text_config")
    config = {**config, **text} if isinstance(text, Mapping) else config
    query = _whole(config.get("num_attention_heads", config.get("n_heads")))
    key = _whole(config.get("num_key_value_heads", config.get("n_kv_heads"))) or query
    return Heads(query, key, _whole(config.get("head_dim"))) if query and key else None


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def halves_apart(rows: int, heads: int) -> np.ndarray | None:
    """Row i of transformers' weight is row `order[i]` of one whose heads are interleaved; None where they don't fit."""
    if rows % (2 * heads):
        return None
    return np.arange(rows).reshape(heads, rows // heads // 2, 2).swapaxes(1, 2).reshape(-1)


def split_groups(rows: int, heads: Heads) -> dict[str, np.ndarray] | None:
    """Which rows of Megatron's linear_qkv are q's, k's and v's; None where they don't fit."""
    per_group = heads.query // heads.key + 2
    if heads.query % heads.key or rows % (heads.key * per_group):
        return None
    blocks = np.arange(rows).reshape(heads.key, per_group, -1)
    return {"q": blocks[:, :-2].reshape(-1), "k": blocks[:, -2].reshape(-1), "v": blocks[:, -1].reshape(-1)}
