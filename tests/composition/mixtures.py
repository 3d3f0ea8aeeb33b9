"""Small LoRAs on the pico llama for mixtures: ranks, targets and scales differ; written by peft, read by our reader."""

from pathlib import Path

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
