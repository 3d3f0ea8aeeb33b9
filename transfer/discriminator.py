"""The discriminator of Trans-LoRA: a LoRA on the source base that says whether an input is a real one."""

from collections.abc import Sequence
from pathlib import Path

from composition.progress import Progress, ignore
from composition.recipes import DiscriminatorRecipe
from transfer.parties import Discriminator, Loader


def train_discriminator(
    load: Loader,
    source_adapter: Path,
    real: Sequence[str],
    seeds: Sequence[str],
    recipe: DiscriminatorRecipe,
    *,
    work: Path,
    source_name: str = "",
    progress: Progress = ignore,
) -> Discriminator:
    """Learn to tell `real` inputs from those the source base invents from `seeds`."""
    raise NotImplementedError
