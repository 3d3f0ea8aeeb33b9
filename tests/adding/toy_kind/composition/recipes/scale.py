"""The recipe of a toy kind of job: one adapter, made stronger or weaker."""

from dataclasses import dataclass
from typing import ClassVar

from composition.errors import CompositionError, RecipeError
from composition.recipes.base import Inputs, Recipe, option
from composition.recipes.method import Method, Needs


@dataclass(frozen=True, slots=True, kw_only=True)
class ScaleRecipe(Recipe):
    """ΔW' = factor · ΔW in every module."""

    kind: ClassVar[str] = "scale"

    factor: float = option(
        "number",
        default=0.5,
        minimum=-100,
        maximum=100,
        label="Factor",
        help="What the adapter's update is multiplied by; a negative one undoes what it learnt.",
    )

    def __post_init__(self) -> None:
        Recipe.__post_init__(self)  # not super(): a class that slots have remade is not the one it knows
        if self.factor == 0:
            raise RecipeError("factor", "Factor: 0 leaves nothing of the adapter. Choose another number.")

    def check(self, inputs: Inputs) -> None:
        """Refuse an adapter that means nothing without its base weight."""
        for name, facts in inputs:
            if facts.needs_base:
                need = facts.needs_base[0]
                raise CompositionError("scale.needs_base", f"{name} can't be scaled: {need['reason']} {need['do']}")

    def output_ranks(self, inputs: Inputs) -> dict[str, int]:
        """The adapter's own."""
        return {module: shape.r for _, facts in inputs for module, shape in facts.modules.items()}


METHODS = (
    Method(
        kind="scale",
        verb="scale",
        label="Scaling",
        summary="Makes an adapter stronger or weaker.",
        recipe=ScaleRecipe,
        function="composition.scale:scale",
        needs=Needs(min_inputs=1, max_inputs=1),
    ),
)
