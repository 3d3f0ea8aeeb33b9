"""The recipes of federated rounds: the clients' adapters become one, each counting by how much data it has seen."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from composition.errors import RecipeError
from composition.recipes import checks
from composition.recipes.base import Inputs, option
from composition.recipes.merge.frame import MergeRecipe, RankedRecipe
from composition.recipes.method import Method, Needs


def samples_option() -> Any:
    """The field that says what each client counts for."""
    return option(
        "numbers",
        default=None,
        minimum=0,
        maximum=1e15,
        label="Samples",
        help="How many samples each client trained on, in the adapters' order: each counts by its share. Empty for "
        "equal shares.",
    )


def round_option() -> Any:
    """The field that says which round it is."""
    return option(
        "integer",
        default=None,
        minimum=0,
        maximum=1_000_000_000,
        label="Round",
        help="The number of the round, kept with the result.",
    )


def check_samples(inputs: Inputs, samples: Sequence[float] | None, weights: Sequence[float] | None) -> None:
    """One count above zero an adapter, and no weights beside them."""
    if weights is not None:
        raise RecipeError("weights", "Weights: a federated round counts samples. Give them as samples instead.")
    if samples is None:
        return
    if len(samples) != len(inputs):
        raise RecipeError(
            "samples",
            f"Samples: got {len(samples)} for {len(inputs)} adapters. Give one count for each, in their order.",
        )
    for (name, _), count in zip(inputs, samples, strict=True):
        if count == 0:
            raise RecipeError("samples", f"Samples: {name} has 0, which leaves it out. Remove it from the inputs.")


def sample_shares(samples: Sequence[float] | None, count: int) -> tuple[float, ...]:
    """What each of `count` clients counts for; they add up to 1."""
    if samples is None:
        return (1 / count,) * count
    return tuple(each / sum(samples) for each in samples)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExactRoundRecipe(MergeRecipe):
    """A round whose result is exactly Σ p_i ΔW_i; p_i is a client's share of the samples."""

    version: ClassVar[int] = 1
    earlier: ClassVar[Mapping[int, Mapping[str, Any]]] = {}
    weighted: ClassVar[bool] = False

    samples: tuple[float, ...] | None = samples_option()
    round: int | None = round_option()

    def aim(self, count: int) -> tuple[float, ...] | None:
        return sample_shares(self.samples, count)

    def check(self, inputs: Inputs) -> None:
        MergeRecipe.check(self, inputs)
        check_samples(inputs, self.samples, self.weights)


@dataclass(frozen=True, slots=True, kw_only=True)
class FloraRecipe(ExactRoundRecipe):
    """FLoRA: the clients' factors stacked, exactly Σ p_i ΔW_i at rank Σr."""

    kind: ClassVar[str] = "flora"
    name: ClassVar[str] = "FLoRA"

    def output_ranks(self, inputs: Inputs) -> dict[str, int]:
        """Σr for every module."""
        return checks.pooled_ranks(inputs)


@dataclass(frozen=True, slots=True, kw_only=True)
class FederatedRecipe(RankedRecipe):
    """Σ p_i ΔW_i of clients of any ranks, cut to the best of one rank; p_i is a client's share of the samples."""

    kind: ClassVar[str] = "federated"
    name: ClassVar[str] = "Federated average"
    weighted: ClassVar[bool] = False

    samples: tuple[float, ...] | None = samples_option()
    round: int | None = round_option()

    def aim(self, count: int) -> tuple[float, ...] | None:
        return sample_shares(self.samples, count)

    def check(self, inputs: Inputs) -> None:
        RankedRecipe.check(self, inputs)
        check_samples(inputs, self.samples, self.weights)


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedFactorRecipe(ExactRoundRecipe):
    """Σ p_i ΔW_i exactly at the clients' own rank, for adapters that have A, or B, in common (FFA-LoRA, Fed-SB)."""

    kind: ClassVar[str] = "shared-factor"
    name: ClassVar[str] = "Average of a shared factor"

    def check(self, inputs: Inputs) -> None:
        ExactRoundRecipe.check(self, inputs)
        checks.check_equal_ranks(inputs, self.name, "Use flora or federated, which take any mix.")

    def output_ranks(self, inputs: Inputs) -> dict[str, int]:
        """The adapters' common rank for every module."""
        return checks.common_ranks(inputs)


METHODS = (
    Method(
        kind="flora",
        verb="merge",
        label="FLoRA",
        summary="A federated round, exactly: the clients' factors stacked, by their samples, at the sum of ranks.",
        recipe=FloraRecipe,
        function="composition.merging.federated:flora",
        needs=Needs(min_inputs=2),
        purpose="federated",
        paper="https://arxiv.org/abs/2409.05976",
    ),
    Method(
        kind="federated",
        verb="merge",
        label="Federated average",
        summary="A federated round of clients of any ranks: the average by samples, as near as one rank comes.",
        recipe=FederatedRecipe,
        function="composition.merging.federated:federated",
        core="composition.merging.federated:federated_core",
        needs=Needs(min_inputs=2),
        purpose="federated",
        paper="https://arxiv.org/abs/2404.06448",
    ),
    Method(
        kind="shared-factor",
        verb="merge",
        label="Shared factor",
        summary="A federated round of clients that share A or B: the exact average at their own rank.",
        recipe=SharedFactorRecipe,
        function="composition.merging.federated:shared_factor",
        needs=Needs(min_inputs=2),
        purpose="federated",
        paper="https://arxiv.org/abs/2502.15436",
    ),
)
