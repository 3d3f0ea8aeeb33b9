"""What the ways without training give: weights for the target, and figures."""

from dataclasses import dataclass
from typing import Any

from composition.weights import LoraWeights


@dataclass(frozen=True, slots=True)
class ShortcutResult:
    """`weights` for the target base (its id is set), `report` plain JSON: `summary`, `modules`, `warnings`."""

    weights: LoraWeights
    report: dict[str, Any]
