"""The recipes of merges by cores: task arithmetic."""

from dataclasses import dataclass
from typing import ClassVar

from composition.recipes.base import option
from composition.recipes.merge.frame import RankedRecipe
from composition.recipes.method import Method, Needs


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskArithmeticRecipe(RankedRecipe):
    """λ Σ w_i ΔW_i at a fixed rank; equal weights mean 1 each."""

    kind: ClassVar[str] = "task-arithmetic"
    name: ClassVar[str] = "Task arithmetic"

    scale: float = option(
        "number",
        default=0.4,
        minimum=-10.0,
        maximum=10.0,
        label="Scale",
        help="λ: what the sum of the updates is multiplied by; with many adapters rather less than 0.5.",
    )


METHODS = (
    Method(
        kind="task-arithmetic",
        verb="merge",
        label="Task arithmetic",
        summary="The sum of the adapters' updates times one scale, at a fixed rank.",
        recipe=TaskArithmeticRecipe,
        function="composition.merging.core.arithmetic:task_arithmetic",
        core="composition.merging.core.arithmetic:merged",
        needs=Needs(min_inputs=2),
        purpose="balance",
        paper="https://arxiv.org/abs/2212.04089",
    ),
)
