"""Small LoRAs on the pico llama, of unlike ranks, targets and scales; and the text that their routers learn from."""

from collections.abc import Sequence
from pathlib import Path

import torch

from composition.formats import read_adapter
from composition.weights import LoraWeights
from tests import pico

KINDS = {
    "a": {"r": 4, "lora_alpha": 8},
    "b": {"r": 8, "lora_alpha": 8, "use_rslora": True, "target_modules": ["q_proj", "v_proj", "down_proj"]},
    "c": {"r": 2, "lora_alpha": 3, "rank_pattern": {"v_proj": 6}, "alpha_pattern": {"q_proj": 1}},
}


def write_experts(folder: Path, names: str = "abc", **more) -> list[Path]:
    """A folder for each name."""
    return [
        pico.write_adapter(folder / name, seed=10 + number, **{**KINDS[name], **more})
        for number, name in enumerate(names)
    ]


def read_experts(folder: Path, names: str = "abc", **more) -> list[LoraWeights]:
    """The adapters, named by letter."""
    return [read_adapter(path) for path in write_experts(folder, names, **more)]


def same(one: LoraWeights, other: LoraWeights) -> bool:
    """Whether both hold the same modules with the same bits and scales."""
    return list(one) == list(other) and all(
        one[m].A.dtype == other[m].A.dtype
        and one[m].A.equal(other[m].A)
        and one[m].B.equal(other[m].B)
        and one[m].scale == other[m].scale
        for m in one
    )


class Words:
    """A tokenizer whose words are numbers, their own ids."""

    eos_token_id = 2
    bos_token_id = chat_template = None
    pad_token_id = 0

    def __call__(self, text: str, add_special_tokens: bool = True) -> dict[str, list[int]]:
        return {"input_ids": [int(word) for word in text.split()]}

    def decode(self, ids: Sequence[int], skip_special_tokens: bool = False) -> str:
        return " ".join(str(int(number)) for number in ids)


def rows(seed: int, count: int = 12) -> list[dict[str, str]]:
    """Prompts of 3 to 6 words out of the eight that are this seed's own, and completions of one or two."""
    generator = torch.Generator().manual_seed(seed)

    def words(low: int, high: int) -> str:
        length = int(torch.randint(low, high + 1, (1,), generator=generator))
        return " ".join(str(8 + 8 * seed + n) for n in torch.randint(8, (length,), generator=generator).tolist())

    return [{"prompt": words(3, 6), "completion": words(1, 2)} for _ in range(count)]


def data(names: str = "abc") -> dict[str, list[dict[str, str]]]:
    """A small dataset for each expert; only the words tell whose it is."""
    return {name: rows(number) for number, name in enumerate(names)}
