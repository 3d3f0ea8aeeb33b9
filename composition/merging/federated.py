"""Federated rounds: ΔW' = Σ p_i ΔW_i, p_i = samples_i / Σ samples, of the clients' adapters.

    flora          stacked, exact, rank Σr                     FLoRA (Wang et al., 2024, arXiv:2409.05976)
    federated      its best part of rank k, any mix of ranks   FedPipe's aggregation (Fang et al., 2024)
    shared_factor  exact at the clients' rank r, where all have one A: B' = Σ p_i s_i B_i, A' = A, or one B likewise
                   FFA-LoRA (Sun et al., 2024, arXiv:2403.12313), Fed-SB (Singhal et al., 2025, arXiv:2502.15436)

Averages of A and of B apart are none of the adapters, and are not offered here. Reports say who contributed how much.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from composition.errors import CompositionError
from composition.merging.cat import stack
from composition.merging.core.cores import Cores
from composition.merging.core.merge import merge_cores
from composition.merging.diagnostics import MergeResult, Report
from composition.merging.units import Units, check_finite
from composition.merging.walk import Merged, walk
from composition.progress import Progress, ignore
from composition.recipes.merge.federated import FederatedRecipe, FloraRecipe, SharedFactorRecipe, sample_shares
from composition.weights import LoraWeights

SAME = 1e-6
"""Factors that differ by less than this share of their size are one: a copy in half precision is not."""


def flora(adapters: Sequence[LoraWeights], recipe: FloraRecipe, *, progress: Progress = ignore) -> MergeResult:
    """Raises CompositionError where the adapters don't fit the recipe or hold values that are not finite."""
    recipe.check([(adapter.name or "an adapter", adapter.facts()) for adapter in adapters])
    return _told(stack(adapters, recipe, sample_shares(recipe.samples, len(adapters)), progress=progress), recipe)


def federated(adapters: Sequence[LoraWeights], recipe: FederatedRecipe, *, progress: Progress = ignore) -> MergeResult:
    """Raises CompositionError as `flora` does."""
    return _told(merge_cores(adapters, recipe, federated_core, said="Averaged", progress=progress), recipe)


def federated_core(cores: Cores, recipe: FederatedRecipe) -> Tensor:
    """[p, q]: the core of the average."""
    return cores.whole(sample_shares(recipe.samples, len(cores.ranks)))


def shared_factor(
    adapters: Sequence[LoraWeights], recipe: SharedFactorRecipe, *, progress: Progress = ignore
) -> MergeResult:
    """Raises CompositionError as `flora` does, and `merge.no_shared_factor` where neither A nor B is one."""
    return _told(walk(adapters, recipe, _shared, said="Averaged", progress=progress), recipe)


def _shared(group: list[Units], recipe: SharedFactorRecipe, report: Report) -> Merged:
    shares = sample_shares(recipe.samples, len(group[0].ranks))
    for units in group:
        check_finite(units, report.names)
        each = [p * f.scale for p, f in zip(_present(shares, units), units.factors, strict=True)]
        first = units.factors[0]
        if all(_same(f.A, first.A) for f in units.factors):
            A, B = first.A.float(), _sum(each, [f.B for f in units.factors])
        elif all(_same(f.B, first.B) for f in units.factors):
            A, B = _sum(each, [f.A for f in units.factors]), first.B.float()
        else:
            raise _no_shared(units, report.names)
        report.measure(units, A, B)
        yield units, A, B


def _present(shares: Sequence[float], units: Units) -> list[float]:
    return [share for share, rank in zip(shares, units.ranks, strict=True) if rank]


def _same(one: Tensor, other: Tensor) -> bool:
    return float((one.double() - other.double()).norm()) <= SAME * float(other.double().norm())


def _sum(weights: Sequence[float], factors: Sequence[Tensor]) -> Tensor:
    stacked = torch.stack([factor.float() for factor in factors])
    return (torch.tensor(weights)[:, None, None] * stacked).sum(0)


def _no_shared(units: Units, names: Sequence[str]) -> CompositionError:
    present = [name for name, rank in zip(names, units.ranks, strict=True) if rank]
    return CompositionError(
        "merge.no_shared_factor",
        f"{units.module}: {', '.join(present)} have neither their A nor their B in common, so averaging one factor "
        "would not average the adapters. Use flora (exact, at the sum of the ranks) or federated (cut to a rank).",
        module=units.module,
        adapters=present,
    )


def _told(result: MergeResult, recipe: FloraRecipe | FederatedRecipe | SharedFactorRecipe) -> MergeResult:
    """The result, its report with the round and its contributors."""
    names = result.report["inputs"]
    shares = sample_shares(recipe.samples, len(names))
    samples = recipe.samples or (None,) * len(names)
    rows: list[dict[str, Any]] = [
        {"name": name, "samples": count, "share": share}
        for name, count, share in zip(names, samples, shares, strict=True)
    ]
    return MergeResult(result.weights, {**result.report, "round": recipe.round, "contributors": rows})
