"""What recipes of merges by cores share, and task arithmetic."""

from dataclasses import dataclass
from typing import Any, ClassVar

from composition.recipes.base import option
from composition.recipes.merge.frame import RankedRecipe
from composition.recipes.method import Method, Needs


def scale_option(default: float, help: str) -> Any:
    """The factor on the whole merge."""
    return option("number", default=default, minimum=-10.0, maximum=10.0, label="Scale", help=help)


def density_option(default: float, help: str, label: str = "Density") -> Any:
    """The share of numbers that are kept."""
    return option("number", default=default, minimum=0.001, maximum=1.0, label=label, help=help)


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskArithmeticRecipe(RankedRecipe):
    """λ Σ w_i ΔW_i at a fixed rank; equal weights mean 1 each."""

    kind: ClassVar[str] = "task-arithmetic"
    name: ClassVar[str] = "Task arithmetic"
    tried: ClassVar[tuple[float, ...]] = (1.4, 2.0)
    adds: ClassVar[bool] = True

    scale: float = scale_option(
        0.4, "λ: what the sum of the updates is multiplied by; with many adapters rather less than 0.5."
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
        searched=True,
        paper="https://arxiv.org/abs/2212.04089",
    ),
)
