"""LoRA weights under the name that others import: `from composition.weights import Factors, LoraWeights, save_peft`."""

from composition.factors import DTYPES, Factors, LazyFactors, LoraWeights
from composition.formats.peft.save import save_peft

__all__ = ["DTYPES", "Factors", "LazyFactors", "LoraWeights", "save_peft"]
