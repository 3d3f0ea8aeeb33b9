"""The recipes of merges that leave out numbers by their size: TIES, magnitude pruning, breadcrumbs."""

from dataclasses import dataclass
from typing import ClassVar

from composition.recipes.base import option
from composition.recipes.merge.elementwise import (
    FUNCTION,
    ElectingRecipe,
    ElementwiseRecipe,
    Leaving,
    signs_option,
)
from composition.recipes.method import Method, Needs


@dataclass(frozen=True, slots=True, kw_only=True)
class MagnitudePruneRecipe(ElementwiseRecipe):
    """Σ w_i of each adapter's largest numbers."""

    kind: ClassVar[str] = "magnitude-prune"
    name: ClassVar[str] = "Magnitude pruning"


@dataclass(frozen=True, slots=True, kw_only=True)
class TiesRecipe(ElectingRecipe):
    """TIES: trim to the largest numbers, elect signs, merge those that agree."""

    kind: ClassVar[str] = "ties"
    name: ClassVar[str] = "TIES"


@dataclass(frozen=True, slots=True, kw_only=True)
class BreadcrumbsRecipe(ElectingRecipe):
    """Model breadcrumbs: leave out the largest numbers and the smallest, sum the rest."""

    kind: ClassVar[str] = "breadcrumbs"
    name: ClassVar[str] = "Breadcrumbs"

    signs: str = signs_option("none")
    density: float = option(
        "number",
        default=0.9,
        minimum=0.0001,
        maximum=1.0,
        label="Density",
        help="The share of each adapter's numbers that is kept.",
    )
    gamma: float = option(
        "number",
        default=0.01,
        minimum=0.0,
        maximum=1.0,
        label="Gamma",
        help="The share of each adapter's largest numbers that is left out; less where density + γ is above 1.",
    )

    @property
    def leaving(self) -> Leaving:
        return Leaving(rule="middle", density=self.density, gamma=self.gamma)


METHODS = (
    Method(
        kind="ties",
        verb="merge",
        label="TIES",
        summary="Trims each update to its largest numbers, elects their signs, and averages those that agree.",
        recipe=TiesRecipe,
        function=FUNCTION,
        needs=Needs(min_inputs=1),
        purpose="conflicts",
        searched=True,
        paper="https://arxiv.org/abs/2306.01708",
    ),
    Method(
        kind="breadcrumbs",
        verb="merge",
        label="Breadcrumbs",
        summary="Leaves out each update's largest and smallest numbers and adds up the rest.",
        recipe=BreadcrumbsRecipe,
        function=FUNCTION,
        needs=Needs(min_inputs=1),
        purpose="conflicts",
        paper="https://arxiv.org/abs/2312.06795",
    ),
    Method(
        kind="magnitude-prune",
        verb="merge",
        label="Magnitude pruning",
        summary="Adds up the largest numbers of each update.",
        recipe=MagnitudePruneRecipe,
        function=FUNCTION,
        needs=Needs(min_inputs=1),
        purpose="conflicts",
    ),
)
