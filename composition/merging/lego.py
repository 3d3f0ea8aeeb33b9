"""LoRA-LEGO (Zhao et al., 2024, arXiv:2409.16167): merge adapters by clustering their rank-1 units.

For each module, with m_i = concat(a_i, b_i) the units of all adapters, √scale folded into both halves:

    1. k-means of the m_i into k clusters C_j, centroids μ_j = mean of C_j
    2. parameter reweighting   μ_j ← μ_j · (1/|C_j| Σ_{i∈C_j} ‖m_i‖∞) / ‖μ_j‖∞
    3. output reweighting      ΔW' = √(r/k) · B' A', A' and B' the halves of the μ_j

There is no official code; the three public implementations agree on this and differ in details, which the profiles
pin: `paper` (raw units, √(r/k)), `ctm` (√(Σr/k)), `nsc` (clusters on units whose halves are L2-normalised, centroids
of the raw units). Beyond or beside the paper, here:

- Scale: √|α-scale| on both halves and its sign on b; the result has α = k, so scale 1 (the paper leaves α open).
- `r` is the mean, maximum or sum (`r_ref`) of the ranks of the adapters that have the module; k is the module's own
  k_m = min(k, Σr). The factor √(r/k) is put on B'.
- `weights` are an extension: unit m_i enters as √|w| m_i with w's sign on b, so that ΔW_i enters as w·ΔW_i.
- K-means++ starts, `n_init` restarts, Lloyd's iteration to its fixed point, in all profiles (the paper's start is not
  known; the `nsc` code runs 10 iterations from one random start). A cluster that empties takes the farthest unit.
- The partition depends neither on the adapters' order nor on that of an adapter's ranks: units are multiplied in an
  order of their content, and drawn in that of their raw norms (since version 2 of the recipe for `nsc`, too).
- A module that only some adapters have is merged from those. A centroid that is zero stays zero.

All is done on R × R Grams (R = Σr); only the k centroids and the L∞ norms are taken in the modules' own dimensions.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from composition.merging import diagnostics
from composition.merging.gram import Grams, grams
from composition.merging.kmeans import Clustering, cluster
from composition.merging.units import Units
from composition.merging.walk import Merged, walk
from composition.progress import Progress, ignore
from composition.recipes import LegoRecipe
from composition.weights import LoraWeights

__all__ = ["LegoRecipe", "LegoResult", "lego"]

CLOSE = 1e-4
"""Halves of units nearer than this, in squared distance over the largest squared norm, call for float64 products."""
UNSTABLE = 0.5
"""Change of ΔW between two k-means seeds from which a merge is called seed noise."""


@dataclass(frozen=True, slots=True)
class LegoResult(diagnostics.MergeResult):
    """The merged adapter, its report, and for each module the cluster of every unit, in input order: int array [R]."""

    labels: dict[str, np.ndarray] = field(default_factory=dict)


def lego(adapters: Sequence[LoraWeights], recipe: LegoRecipe, *, progress: Progress = ignore) -> LegoResult:
    """Merge adapters into one of rank min(recipe.rank, Σr) a module; a single adapter is compressed.

    Raises CompositionError where the adapters don't fit the recipe or hold values that are not finite.
    """
    labels: dict[str, np.ndarray] = {}

    def merge(group: list[Units], recipe: LegoRecipe, report: diagnostics.Report) -> Merged:
        for units, (A, B), assigned in _merge_group(group, recipe, report):
            labels[units.module] = assigned
            yield units, A, B

    result = walk(adapters, recipe, merge, said="Clustered", summary=_summary, progress=progress)
    return LegoResult(result.weights, result.report, dict(sorted(labels.items())))


def _merge_group(
    group: list[Units], recipe: LegoRecipe, report: diagnostics.Report
) -> list[tuple[Units, tuple[Tensor, Tensor], np.ndarray]]:
    """Merge modules of equal ranks: (units, (A', B'), labels) of each; figures go into the report."""
    first = group[0]
    assert recipe.rank is not None
    k = min(recipe.rank, first.count)
    weights = first.scatter(recipe.weights or [1.0] * len(first.ranks))
    seeds = (recipe.seed, recipe.seed + 1)
    content = [units.content_order(weights) for units in group]
    gram = grams(group, report.names, orders=content)
    if _coincide(gram.A) or _coincide(gram.B):
        gram = grams(group, report.names, orders=content, exact=True)
    features = feature_gram(gram, weights, recipe.profile)
    order = _draw_order(gram, weights, content)
    here, other = cluster(features, k, seeds=seeds, n_init=recipe.n_init, order=order)
    output = output_factor(first.ranks, k, recipe)

    results = []
    sides = torch.empty(2, 2, len(group), first.count, k, dtype=torch.float64)  # seed, X | Yᵀ, module, R, k
    for m, units in enumerate(group):
        largest = gram.largest[m] * weights.abs().sqrt()
        changed = bool((here.labels[m] != other.labels[m]).any())
        centroids = _centroids(units, [here.labels[m], other.labels[m]][: 1 + changed], k, weights)
        for s, (left, right, A, B, peak) in enumerate(centroids):
            grown = _growth(largest, [here, other][s].labels[m], peak)
            sides[s, 0, m], sides[s, 1, m] = left * (grown * output), (right * grown[:, None]).mT
            if s == 0:
                merged = (A * grown[:, None].float(), B * (grown * output).float())
        if not changed:
            sides[1, :, m] = sides[0, :, m]
        results.append((units, merged, here.labels[m].numpy()))

    report.add(group, gram, sides[0, 0], sides[0, 1].mT)
    _describe(group, report, gram, sides, here, k)
    return results


def _coincide(gram: Tensor) -> bool:
    """Whether halves of two units lie so close that float32 products can't tell them apart well."""
    norms = gram.diagonal(dim1=-2, dim2=-1)
    nearness = gram - norms[:, None, :] / 2  # ‖x_i − x_j‖² = ‖x_i‖² − 2 (⟨x_i, x_j⟩ − ‖x_j‖² / 2)
    nearness.diagonal(dim1=-2, dim2=-1).fill_(-torch.inf)
    closest = norms - 2 * nearness.amax(-1)
    return bool((closest.amin(-1) < CLOSE * norms.amax(-1)).any())


def feature_gram(gram: Grams, weights: Tensor, profile: str) -> Tensor:
    """[M, R, R]: the Gram of what the profile clusters on, for each unit's weight [R]."""
    if profile == "nsc":
        return _unit_diagonal(gram.A) + _unit_diagonal(gram.B) * torch.outer(weights.sign(), weights.sign())
    root = weights.abs().sqrt()
    signed = root * weights.sign()
    return gram.A * torch.outer(root, root) + gram.B * torch.outer(signed, signed)


def _draw_order(gram: Grams, weights: Tensor, content: list[Tensor]) -> Tensor:
    """[M, R]: the order in which k-means draws units: by the norm of the raw unit, in all profiles, then by content.

    The norms of half-normalised units are √2, all of them, and would leave the order to rounding.
    """
    first = torch.stack(content)
    norms = feature_gram(gram, weights, "paper").diagonal(dim1=-2, dim2=-1)
    return first.gather(1, norms.gather(1, first).argsort(dim=-1, stable=True))


def _unit_diagonal(gram: Tensor) -> Tensor:
    """The Gram of L2-normalised rows; a zero row stays zero."""
    norms = gram.diagonal(dim1=-2, dim2=-1).clamp_min(0).sqrt()
    inverse = torch.where(norms > 0, 1 / norms, 0.0)
    return gram * inverse[:, :, None] * inverse[:, None, :]


def output_factor(ranks: Sequence[int], k: int, recipe: LegoRecipe) -> float:
    """√(r/k), for the ranks of the adapters, 0 for one that lacks the module."""
    ranks = [rank for rank in ranks if rank]
    r_ref = "sum" if recipe.profile == "ctm" else recipe.r_ref
    r = {"mean": sum(ranks) / len(ranks), "max": max(ranks), "sum": sum(ranks)}[r_ref]
    return (r / k) ** 0.5


def _centroids(
    units: Units, labelings: list[Tensor], k: int, weights: Tensor
) -> list[tuple[Tensor, Tensor, Tensor, Tensor, Tensor]]:
    """For each labelling (X [R, k], Y [k, R], A [k, in], B [out, k], L∞ norms [k]) of the centroids B̂ X and Y Â.

    One product makes those of all labellings.
    """
    mean = torch.cat([torch.nn.functional.one_hot(labels, k).double() for labels in labelings], 1)
    mean /= mean.sum(0)
    root = weights.abs().sqrt()[:, None]
    left, right = mean * root * weights.sign()[:, None], (mean * root).mT
    B, A = units.combine(left, right)
    peak = torch.stack([A.amax(1), -A.amin(1), B.amax(0), -B.amin(0)]).amax(0)
    spans = [slice(s * k, (s + 1) * k) for s in range(len(labelings))]
    return [(left[:, span], right[span], A[span], B[:, span], peak[span]) for span in spans]


def _growth(largest: Tensor, labels: Tensor, peak: Tensor) -> Tensor:
    """[k]: the mean L∞ norm of each cluster's units over its centroid's, `peak`; 1 for a zero centroid."""
    members = torch.zeros(len(peak), dtype=torch.float64).scatter_reduce_(
        0, labels, largest, "mean", include_self=False
    )
    return torch.where(peak > 0, members / peak.double(), 1.0)


def _describe(
    group: list[Units], report: diagnostics.Report, gram: Grams, sides: Tensor, here: Clustering, k: int
) -> None:
    """Add to each module's row: cluster sizes, sources, how much clustering explains, how much another seed changes."""
    x, y = sides[:, 0], sides[:, 1].mT
    mixed = [gram.inner(x[s], y[s], x[t], y[t]) for s, t in ((0, 0), (0, 1), (1, 1))]
    change = diagnostics.root(mixed[0] - 2 * mixed[1] + mixed[2])
    count = len(group[0].ranks)
    for m, units in enumerate(group):
        sources = torch.zeros(k, count, dtype=torch.long)
        sources.index_put_((here.labels[m], units.owner), torch.tensor(1), accumulate=True)
        row: dict[str, Any] = report.modules[units.module]
        inertia, total = max(float(here.inertia[m]), 0.0), float(here.total[m])
        row["cluster_sizes"] = sources.sum(1).tolist()
        row["sources"] = sources.tolist()
        row["inertia_ratio"] = diagnostics.ratio(inertia, total)
        row["seed_change"] = diagnostics.ratio(float(change[m]), row["norm"])
        report.square("seed_change", float(change[m]))
        report.square("inertia", inertia**0.5)
        report.square("total", total**0.5)


def _summary(report: diagnostics.Report) -> dict[str, Any]:
    """How much clustering explains and how much another seed changes, with a warning where it found little."""
    summary = {
        "inertia_ratio": diagnostics.ratio(report.squares.get("inertia", 0.0), report.squares.get("total", 0.0)),
        "seed_change": diagnostics.ratio(report.whole("seed_change"), report.whole("norm")),
    }
    _warn(report, summary)
    return summary


def _warn(report: diagnostics.Report, summary: dict[str, Any]) -> None:
    """Warn in plain words if clustering found little to group."""
    seed = cast(LegoRecipe, report.recipe).seed
    change, inertia = summary["seed_change"], summary["inertia_ratio"]
    if change is None or inertia is None or change < UNSTABLE:
        return
    report.warnings.append(
        "Clustering found little to group: units lie nearly as far from their cluster's centre as from the common "
        f"mean ({inertia:.0%} of the spread stays inside clusters), and seed {seed + 1} in place of "
        f"{seed} would change the result by {change:.0%}. This is usual for adapters trained from different "
        "random starts: their directions have little in common. Compare with a truncated SVD of the same adapters "
        "before relying on it."
    )
