"""Trans-LoRA (arXiv:2405.17258), the four stages after the discriminator: synthesis, filter, labelling, distillation."""

from pathlib import Path

from composition.progress import Progress, ignore
from composition.recipes import TransLoraRecipe
from transfer.parties import Loader, Parties, TransferResult

__all__ = ["Loader", "Parties", "TransferResult", "transfer"]


def transfer(parties: Parties, recipe: TransLoraRecipe, *, work: Path, progress: Progress = ignore) -> TransferResult:
    """A new adapter on the target that does what the old one does on the source; `work` is found again after a kill."""
    raise NotImplementedError
