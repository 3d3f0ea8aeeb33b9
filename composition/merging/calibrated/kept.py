"""Grams in a folder: one safetensors file, of each symmetric matrix the upper half, row after row."""

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

FILE = "grams.safetensors"
Fill = Callable[[Path], None]
Keep = Callable[[int, str, Fill], Path]
"""keep(adapter's place, what was asked of it, fill): the folder of that, filled where it is not there yet."""


def write_grams(folder: Path, grams: Mapping[str, Tensor]) -> None:
    """Write {module: symmetric matrix [in, in]}."""
    halves = {name: gram.masked_select(_upper(len(gram))) for name, gram in grams.items()}
    save_file(halves, folder / FILE)


def read_gram(folder: Path, module: str) -> Tensor:
    """The whole matrix [in, in] of a module."""
    with safe_open(folder / FILE, framework="pt") as source:
        half = source.get_tensor(module)
    width = int(((8 * len(half) + 1) ** 0.5 - 1) / 2)
    gram = half.new_zeros(width, width).masked_scatter_(_upper(width), half)
    return gram + gram.triu(1).mT


def _upper(width: int) -> Tensor:
    """True at and above the diagonal."""
    return torch.ones(width, width, dtype=torch.bool).triu()
