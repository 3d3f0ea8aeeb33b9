"""What a merge reports about itself, without a dense ΔW: norms, and errors against the exact sum and mean.

Targets, for the weights w that the recipe aims at, scaled to Σ|w| = n adapters (all ones where it gives none):

    sum = Σ_i w_i ΔW_i,    mean = sum / n

`error_sum` and `error_mean` are ‖ΔW' − target‖_F / ‖target‖_F, `norm` is ‖ΔW'‖_F and `norm_inputs` are the ‖ΔW_i‖_F
without weights (None where an adapter lacks the module). An error whose target is zero is None. `kept_inputs` says how
much of each adapter the result holds, ⟨ΔW', ΔW_i⟩ / ‖ΔW_i‖²: 1 where ΔW' is ΔW_i and things at right angles to it, 0
where nothing of it is left, below 0 where the result pulls the other way. `balance` is the least of them over the
largest, 0 where one is not above 0. The summary puts all modules into one vector: its figures are those of the whole
update.

Results that are combinations of the inputs' units go through `Report.add`, by Gram traces of a whole group. Any other
factors, as trimming and sparsifying methods leave them, go through `Report.measure`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from composition.formats.safetensors_writer import cast
from composition.merging.combinations import beside, combination_norms
from composition.merging.core.cores import Cores
from composition.merging.gram import Grams
from composition.merging.units import Units
from composition.recipes import MergeRecipe
from composition.weights import Factors, LazyFactors, LoraWeights


@dataclass(frozen=True, slots=True)
class MergeResult:
    """A merged adapter and the plain dict a page shows of it."""

    weights: LoraWeights
    report: dict[str, Any]


@dataclass(slots=True)
class Report:
    """Collects rows by module and squared norms over all modules."""

    recipe: MergeRecipe
    names: list[str]
    modules: dict[str, dict[str, Any]] = field(default_factory=dict)
    squares: dict[str, float] = field(default_factory=dict)
    shared: dict[int, float] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def target(self, units: Units) -> Tensor:
        """[R]: the weights of the exact sum, unit by unit."""
        return units.scatter(share(self.recipe.aim(len(self.names)), len(self.names)))

    def add(self, group: Sequence[Units], grams: Grams, left: Tensor, right: Tensor) -> None:
        """Measure results B̂ X · Y Â of a group of equal ranks: left X [M, R, k], right Y [M, k, R]."""
        count = len(self.names)
        target = self.target(group[0]).expand(len(group), -1)
        whole = grams.square_diagonal(target)
        result = grams.inner(left, right, left, right)
        shared = grams.inner_diagonal(left, right, target)
        figures = {
            "norm": root(result),
            "sum": root(whole),
            "off_sum": root(result - 2 * shared + whole),
            "off_mean": root(result - 2 * shared / count + whole / count**2),
        }
        inputs = grams.norm_blocks(group[0].ranks)
        kept = grams.inner_blocks(left, right, group[0].ranks)
        for m, units in enumerate(group):
            row = {key: float(values[m]) for key, values in figures.items()}
            self.add_row(units, left.shape[-1], row, inputs[m], kept[m])

    def add_core(self, units: Units, cores: Cores, u: Tensor, v: Tensor) -> None:
        """Measure a result Q_B U V Q_Aᵀ of a module, U [p, k] and V [k, q] in the bases of its cores."""
        count = len(self.names)
        whole = (cores.left * self.target(units)) @ cores.right
        result = u @ v
        norms = {
            "norm": float(result.norm()),
            "sum": float(whole.norm()),
            "off_sum": float((result - whole).norm()),
            "off_mean": float((result - whole / count).norm()),
        }
        left, right = cores.left.mT @ u, v @ cores.right.mT
        each = (left * right.mT).sum(1)  # ⟨ΔW', b_i a_iᵀ⟩ of each unit
        shared = torch.stack([part.sum() for part in each.split(list(cores.ranks))])
        self.add_row(units, u.shape[1], norms, cores.norms(), shared)

    def measure(self, units: Units, A: Tensor, B: Tensor, scale: float = 1.0) -> dict[str, Any]:
        """Measure any factors, A [r, in] and B [out, r] of ΔW' = scale · B A, against the inputs' units of a module.

        Adds the module's row and returns it: as `add` does, with `norm_sum`, ‖sum‖_F, and `cosine`, of the angle
        between ΔW' and the sum. Errors are right down to about 1e-13 of what is added up (see `combinations`); pass the
        factors as they are stored, and rounding to their dtype is in the figures. O((Σr + r)² (in + out)) work.
        Raises CompositionError where a value is not finite or the shapes don't fit the module's.
        """
        count = len(self.names)
        joint = beside(units, Factors(A, B, scale))
        result, *inputs = (joint.scatter(row) for row in torch.eye(count + 1).tolist())
        target = joint.scatter([0.0, *share(self.recipe.aim(count), count)])
        off_inputs = [result - one for one in inputs]
        asked = torch.stack([result, target, result - target, result - target / count, *inputs, *off_inputs])
        found = combination_norms(joint, ["the result", *self.names], asked)
        norm, whole, off_sum, off_mean = found[:4].tolist()
        alone, off = found[4:].split(count)
        norms = {"norm": norm, "sum": whole, "off_sum": off_sum, "off_mean": off_mean}
        self.add_row(units, joint.ranks[0], norms, alone, (norm**2 + alone**2 - off**2) / 2)
        row = self.modules[units.module]
        row["norm_sum"], row["cosine"] = whole, cosine(norm, whole, off_sum)
        return row

    def cosine(self) -> float | None:
        """Of the angle between the whole update and the whole sum."""
        return cosine(self.whole("norm"), self.whole("sum"), self.whole("off_sum"))

    def add_row(self, units: Units, rank: int, norms: dict[str, float], inputs: Tensor, shared: Tensor) -> None:
        """One module's row from its norms (of the result, the sum, the differences to sum and mean), its inputs' norms
        [n], and the inner products of the result with each input [n]."""
        count = len(self.names)
        kept = [ratio(float(part), float(norm) ** 2) for part, norm in zip(shared, inputs, strict=True)]
        self.modules[units.module] = {
            "rank": rank,
            "norm": norms["norm"],
            "norm_inputs": [float(norm) if r else None for norm, r in zip(inputs, units.ranks, strict=True)],
            "kept_inputs": kept,
            "error_sum": ratio(norms["off_sum"], norms["sum"]),
            "error_mean": ratio(norms["off_mean"], norms["sum"] / count),
        }
        for key, value in norms.items():
            self.square(key, value)
        for i, (norm, part) in enumerate(zip(inputs.tolist(), shared.tolist(), strict=True)):
            self.square(f"input {i}", norm)
            self.shared[i] = self.shared.get(i, 0.0) + part

    def square(self, key: str, value: float) -> None:
        """Add a module's norm to the norm over all modules."""
        self.squares[key] = self.squares.get(key, 0.0) + value * value

    def whole(self, key: str) -> float:
        """The norm over all modules."""
        return math.sqrt(self.squares.get(key, 0.0))

    def to_dict(self, **summary: Any) -> dict[str, Any]:
        """The plain dict, modules sorted by name."""
        count = len(self.names)
        modules = dict(sorted(self.modules.items()))
        ranks = [row["rank"] for row in modules.values()]
        kept = [ratio(self.shared.get(i, 0.0), self.squares.get(f"input {i}", 0.0)) for i in range(count)]
        return {
            "method": self.recipe.kind,
            "rank": max(ranks),
            "inputs": self.names,
            "modules": modules,
            "summary": {
                "modules": len(modules),
                "rank_min": min(ranks),
                "rank_max": max(ranks),
                "norm": self.whole("norm"),
                "norm_inputs": [self.whole(f"input {i}") for i in range(count)],
                "kept_inputs": kept,
                "balance": balance(kept),
                "error_sum": ratio(self.whole("off_sum"), self.whole("sum")),
                "error_mean": ratio(self.whole("off_mean"), self.whole("sum") / count),
                **summary,
            },
            "warnings": self.warnings,
        }


def root(squares: Tensor) -> Tensor:
    """Norms from squared norms that rounding may have left below zero."""
    return squares.clamp_min(0).sqrt()


def share(weights: Sequence[float] | None, count: int) -> list[float]:
    """Weights scaled to Σ|w| = n; ones where there are none."""
    if weights is None:
        return [1.0] * count
    scale = count / sum(abs(weight) for weight in weights)
    return [weight * scale for weight in weights]


def ratio(part: float, whole: float) -> float | None:
    """part / whole, None where the whole is zero: JSON has no infinity."""
    return part / whole if whole > 0 else None


def balance(kept: Sequence[float | None]) -> float | None:
    """The least kept share over the largest, 0 where one is not above 0; None where nothing is known of any."""
    known = [share for share in kept if share is not None]
    return max(min(known), 0.0) / max(known) if known and max(known) > 0 else (0.0 if known else None)


def cosine(one: float, other: float, difference: float) -> float | None:
    """The cosine from the norms of two vectors and of their difference, None where one of them is zero."""
    if one <= 0 or other <= 0:
        return None
    return max(-1.0, min(1.0, (one / other + other / one - (difference / one) * (difference / other)) / 2))


def begin(adapters: Sequence[LoraWeights], recipe: MergeRecipe) -> Report:
    """Check the adapters against the recipe (raises CompositionError); open a report with the settled recipe."""
    names = [adapter.name or f"adapter {i}" for i, adapter in enumerate(adapters, 1)]
    inputs = [(name, adapter.facts()) for name, adapter in zip(names, adapters, strict=True)]
    recipe.check(inputs)
    report = Report(recipe.settled(inputs), names)
    bases = sorted({adapter.base_model for adapter in adapters if adapter.base_model})
    if len(bases) > 1:
        report.warnings.append(
            f"The adapters name different base models ({', '.join(bases)}). If these are not the same weights, "
            "the merge means nothing."
        )
    modules = [set(adapter) for adapter in adapters]
    partial = sum(1 for module in set().union(*modules) if not all(module in names for names in modules))
    if partial:
        report.warnings.append(
            f"{partial} of {len(set().union(*modules))} modules are missing in some adapters; "
            "there the merge is of those that have them."
        )
    return report


def assemble(adapters: Sequence[LoraWeights], modules: dict[str, Factors | LazyFactors]) -> LoraWeights:
    """The result's LoraWeights, with what all adapters agree on beside the tensors."""
    bases = {adapter.base_model for adapter in adapters}
    tasks = {adapter.task_type for adapter in adapters}
    targets = [adapter.target_modules for adapter in adapters]
    return LoraWeights(
        modules,
        base_model=bases.pop() if len(bases) == 1 else None,
        task_type=tasks.pop() if len(tasks) == 1 else None,
        target_modules=tuple(sorted({s for t in targets if t for s in t})) if all(targets) else None,
        fan_in_fan_out=all(adapter.fan_in_fan_out for adapter in adapters),
    )


def result_dtype(adapters: Sequence[LoraWeights], recipe: MergeRecipe) -> torch.dtype:
    """The recipe's dtype; for auto the widest of the adapters'."""
    if recipe.dtype != "auto":
        return getattr(torch, recipe.dtype)
    widest = adapters[0].dtype
    for adapter in adapters:
        widest = torch.promote_types(widest, adapter.dtype)
    return widest


def cast_factors(module: str, A: Tensor, B: Tensor, dtype: torch.dtype) -> Factors:
    """Factors of scale 1 in `dtype`; CompositionError where a value doesn't fit it."""
    return Factors(cast(A, dtype, module), cast(B, dtype, module), 1.0)
