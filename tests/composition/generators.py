"""Pico generators with random weights, texts of numbers, and the recipes that training tests share."""

import torch

from composition.generative.layer import Generator
from composition.generative.train import linear_shapes
from composition.recipes import TrainGeneratorRecipe
from tests.composition.mixtures import Words
from tests.pico import BASE, pico_llama

SIZES = {"inner": 12, "r": 10, "rank": 6, "alpha": 5.0}
SMALL = {"windows": (8,), "batch_tokens": 32, "steps": 6, "segments": 3, "holdout": 2, "measure_every": 3, "warmup": 1}


class Numbers(Words):
    """Words that are their own ids; takes the options that tokenizers of transformers take."""

    def __call__(self, text, add_special_tokens=True, **_):
        return super().__call__(text, add_special_tokens)


def pico_generator(seed: int = 0, base_model: str = BASE, **more) -> Generator:
    """A generator for the pico llama whose B is random too, so that its adapters do something."""
    recipe = TrainGeneratorRecipe(**{**SIZES, **more})
    generator = Generator(recipe.config_for(base_model, linear_shapes(pico_llama()))).start(seed)
    torch.manual_seed(seed + 1)
    generator.B.data.normal_(0, 0.3)
    generator.norm.data.uniform_(0.5, 1.5)
    return generator.requires_grad_(False)


def text(length: int, seed: int = 0) -> str:
    """A text of `length` random words."""
    ids = torch.randint(3, 64, (length,), generator=torch.Generator().manual_seed(seed))
    return " ".join(str(int(number)) for number in ids)


def corpus(count: int = 8, length: int = 40) -> list[str]:
    """Documents, each a short cycle of words of its own: what comes next can be learnt from the text alone."""
    return [" ".join((text(4, seed) + " ").split() * (length // 4)) for seed in range(count)]
