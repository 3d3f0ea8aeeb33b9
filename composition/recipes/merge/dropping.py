"""The recipes of merges that drop numbers at random: DARE and DELLA."""

from dataclasses import dataclass
from typing import Any, ClassVar

from composition.errors import RecipeError
from composition.recipes.base import option
from composition.recipes.merge.elementwise import (
    FUNCTION,
    ElectingRecipe,
    ElementwiseRecipe,
    Leaving,
)
from composition.recipes.method import Method, Needs


def seed_option() -> Any:
    """The field of rules that draw."""
    return option(
        "integer", default=0, minimum=0, maximum=2**32 - 1, label="Seed", help="Seed of what is dropped at random."
    )


def rescale_option() -> Any:
    """The field of rules that drop at random."""
    return option(
        "choice",
        default="chance",
        choices=("chance", "l1", "none"),
        label="Rescale",
        help="What makes up for dropped numbers: chance, division by the probability to stay, as the papers and PEFT "
        "have it; l1, each update's sum of magnitudes is kept, as mergekit has it; none.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class DareLinearRecipe(ElementwiseRecipe):
    """DARE: drop numbers at random, rescale, sum."""

    kind: ClassVar[str] = "dare-linear"
    name: ClassVar[str] = "DARE"

    rescale: str = rescale_option()
    seed: int = seed_option()

    @property
    def leaving(self) -> Leaving:
        return Leaving(rule="random", density=self.density, rescale=self.rescale, seed=self.seed)


@dataclass(frozen=True, slots=True, kw_only=True)
class DareTiesRecipe(ElectingRecipe):
    """DARE, then the election of TIES."""

    kind: ClassVar[str] = "dare-ties"
    name: ClassVar[str] = "DARE-TIES"

    rescale: str = rescale_option()
    seed: int = seed_option()

    @property
    def leaving(self) -> Leaving:
        return Leaving(rule="random", density=self.density, rescale=self.rescale, seed=self.seed)


@dataclass(frozen=True, slots=True, kw_only=True)
class DellaRecipe(ElectingRecipe):
    """DELLA: drop small numbers more often than large ones, then elect signs and merge."""

    kind: ClassVar[str] = "della"
    name: ClassVar[str] = "DELLA"

    epsilon: float = option(
        "number",
        default=0.15,
        minimum=0.0,
        maximum=0.5,
        label="Epsilon",
        help="A row's smallest number stays with the probability density − ε, its largest with density + ε.",
    )
    rescale: str = rescale_option()
    seed: int = seed_option()

    @property
    def leaving(self) -> Leaving:
        return Leaving(rule="ranked", density=self.density, epsilon=self.epsilon, rescale=self.rescale, seed=self.seed)

    def __post_init__(self) -> None:
        ElectingRecipe.__post_init__(self)
        if self.density < 1 and not self.epsilon < min(self.density, 1 - self.density):
            raise RecipeError(
                "epsilon",
                f"Epsilon: {self.epsilon} with density {self.density} gives probabilities outside 0 to 1. Use less "
                f"than {min(self.density, 1 - self.density):g}.",
            )


METHODS = (
    Method(
        kind="dare-ties",
        verb="merge",
        label="DARE-TIES",
        summary="Drops numbers at random and makes up for them, then elects signs and averages those that agree.",
        recipe=DareTiesRecipe,
        function=FUNCTION,
        needs=Needs(min_inputs=1),
        purpose="conflicts",
        searched=True,
        paper="https://arxiv.org/abs/2311.03099",
    ),
    Method(
        kind="dare-linear",
        verb="merge",
        label="DARE",
        summary="Drops numbers at random, makes up for them, and adds up the rest.",
        recipe=DareLinearRecipe,
        function=FUNCTION,
        needs=Needs(min_inputs=1),
        purpose="conflicts",
        paper="https://arxiv.org/abs/2311.03099",
    ),
    Method(
        kind="della",
        verb="merge",
        label="DELLA",
        summary="Drops small numbers more often than large ones, then elects signs and averages those that agree.",
        recipe=DellaRecipe,
        function=FUNCTION,
        needs=Needs(min_inputs=1),
        purpose="conflicts",
        paper="https://arxiv.org/abs/2406.11617",
    ),
)
