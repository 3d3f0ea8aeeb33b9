"""LoRA-LEGO under the name that others import: `from composition.lego import LegoRecipe, lego`."""

from composition.merging.lego import LegoResult, lego
from composition.recipes import LegoRecipe

__all__ = ["LegoRecipe", "LegoResult", "lego"]
