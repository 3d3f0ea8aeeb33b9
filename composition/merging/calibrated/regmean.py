"""RegMean in factor form (Jin et al., ICLR 2023, arXiv:2212.09849, equation 2 and its section on off-diagonal decay).

With X_i [T, in] the inputs of a module under adapter i, on adapter i's own text, the paper asks for the W' that is
closest to every adapter in its outputs, Σ_i s_i ‖X_i (W' − ΔW_i)ᵀ‖², and answers, with G_i = X_iᵀ X_i / T_i,

    W* = Σ_i s_i ΔW_i G_i (Σ_j s_j G_j)⁻¹ = Σ_i B_i · [s_i A_i G_i S⁻¹],    S = Σ_j s_j G_j = L Lᵀ

so only the A halves change, and W* has rank Σr: no dense ΔW, one Cholesky factor [in, in] for all modules that share an
input. Every G is damped first, G ← α G + (1 − α) diag(G), and gets a ridge, a share of its own mean diagonal, so that
one adapter gives itself and equal Grams the plain mean, whatever α and ridge.

The cut to rank k is ours: the objective is ‖(W' − W*) L‖² + const, so its best W' of rank k is the truncated SVD of
W* L, times L⁻¹; in factors, B̂ = Q_B R_B and (Â S⁻¹ L)ᵀ = Q_A R_A. An adapter that lacks a module has the update zero
there, and its text counts. `scale` multiplies what comes out. What depends on inputs by the product ΔW alone is
invariant: A and B are met as B A only.
"""

import hashlib
import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from composition.errors import CompositionError
from composition.merging.calibrated.inputs import Inputs, parts_of
from composition.merging.calibrated.kept import Fill, Keep, read_gram, write_grams
from composition.merging.calibrated.texts import Row, Text, pad_of, text_of
from composition.merging.core.merge import kept_rank
from composition.merging.diagnostics import MergeResult, Report, ratio
from composition.merging.units import Units, module_names
from composition.merging.walk import Merged, walk
from composition.progress import Progress, ignore, share_of
from composition.recipes.merge.calibrated import GRAM_BYTES, RegMeanRecipe
from composition.weights import LoraWeights

__all__ = ["RegMeanRecipe", "regmean", "regmean_of_grams"]

READING = 0.9
"""The share of the work, for progress, that is reading."""
FORM = 1
"""Raised when the same text would give other Grams."""


class Gram(Protocol):
    """G [in, in] of an adapter, by its place, at a module."""

    def __call__(self, adapter: int, module: str) -> Tensor: ...


def regmean(
    adapters: Sequence[LoraWeights],
    recipe: RegMeanRecipe,
    *,
    model: Any,
    tokenizer: Any,
    data: Sequence[Sequence[Row]],
    keep: Keep | None = None,
    budget: int = GRAM_BYTES,
    progress: Progress = ignore,
) -> MergeResult:
    """The merge of adapters by the texts in `data`, one list of rows for each of them, read on the base `model`.

    `keep` says where Grams stay for the next merge and after a kill; without it they are gone at the end. Raises
    CompositionError where adapters or data don't fit the recipe (`merge.not_linear`, `merge.no_data`,
    `merge.empty_data`, `merge.unknown_data`, `merge.singular`), and whatever `progress` raises to stop it.
    """
    names = [adapter.name or f"adapter {i}" for i, adapter in enumerate(adapters, 1)]
    recipe.check([(name, adapter.facts()) for name, adapter in zip(names, adapters, strict=True)])
    recipe.check_data(names, {name: len(rows) for name, rows in zip(names, data, strict=False)})
    if len(data) != len(adapters):
        raise CompositionError(
            "merge.unknown_data",
            f"{recipe.name} takes one dataset for each adapter, in their order: {len(adapters)}, got {len(data)}.",
        )
    texts = [text_of(tokenizer, model, rows, recipe) for rows in data]
    inputs = Inputs(model, module_names(adapters))
    parts = parts_of(inputs.widths(), budget)

    with tempfile.TemporaryDirectory() as folder:
        gathered = _Gathered(inputs, adapters, names, texts, pad_of(tokenizer), keep or _keep_below(Path(folder)))
        folders = gathered.gather(parts, share_of(progress, 0.0, READING))
        place = {leader: number for number, part in enumerate(parts) for leader in part}
        result = regmean_of_grams(
            adapters,
            recipe,
            lambda adapter, module: read_gram(folders[adapter, place[module]], module),
            leaders=inputs.leaders,
            progress=share_of(progress, READING, 1 - READING),
        )
    moved = result.report["summary"]["output_error"]
    result.report["read"] = [text.facts() | {"moved": far} for text, far in zip(texts, moved, strict=True)]
    return result


def regmean_of_grams(
    adapters: Sequence[LoraWeights],
    recipe: RegMeanRecipe,
    gram: Gram,
    *,
    leaders: dict[str, str] | None = None,
    progress: Progress = ignore,
) -> MergeResult:
    """The merge by Grams alone: `gram(i, module)` is G_i [in, in] of adapter i there.

    `leaders` names for each module the one whose Gram it shares; without it each has its own.
    """

    def leader(units: Units) -> str:
        return leaders[units.module] if leaders else units.module

    def merge(group: list[Units], recipe: RegMeanRecipe, report: Report) -> Merged:
        for name, shared in groupby(sorted(group, key=leader), key=leader):
            yield from _merge(list(shared), recipe, report, partial(gram, module=name))

    return walk(adapters, recipe, merge, said="Solved", summary=_kept_outputs, progress=progress)


def _merge(group: list[Units], recipe: RegMeanRecipe, report: Report, gram: Callable[[int], Tensor]) -> Merged:
    """The merges of modules that share their input."""
    count = len(report.names)
    shares = recipe.weights or (1.0,) * count
    total = sum(shares)
    stacked = [units.stacked() for units in group]
    rows = [torch.zeros_like(A) for A, _ in stacked]  # s_i A_i G_i, unit by unit [R, in]
    whole = torch.zeros(group[0].in_features, group[0].in_features, dtype=torch.float64)
    for adapter in range(count):
        damped = _damped(gram(adapter), recipe)
        whole.add_(damped, alpha=shares[adapter] / total)
        for units, (A, _), row in zip(group, stacked, rows, strict=True):
            own = units.owner == adapter
            row[own] = shares[adapter] / total * (A[own] @ damped)
    if not whole.any():  # No token came here: the mean.
        whole = torch.eye(len(whole), dtype=torch.float64)
        for units, (A, _), row in zip(group, stacked, rows, strict=True):
            row[:] = units.scatter([share / total for share in shares])[:, None] * A
    lower, failed = torch.linalg.cholesky_ex(whole)
    if failed:
        raise CompositionError(
            "merge.singular",
            f"The inputs of {group[0].module} on this text leave its least squares unsolvable. Raise the ridge from "
            f"{recipe.ridge:g}, lower off_diagonal from {recipe.off_diagonal:g}, or give more rows.",
            module=group[0].module,
        )
    results = []
    for units, (_, B), row in zip(group, stacked, rows, strict=True):
        A, B = _cut(B, row, lower, kept_rank(recipe, units), recipe)
        results.append((units, A.float(), recipe.scale * B.float()))
        report.measure(*results[-1])
    _note_outputs(report, results, gram)
    yield from results


def _damped(gram: Tensor, recipe: RegMeanRecipe) -> Tensor:
    """α G + (1 − α) diag(G) + ridge · mean(diag G) · I, in float64."""
    damped = gram.to(torch.float64, copy=True)
    diagonal = damped.diagonal().clone()
    damped *= recipe.off_diagonal
    damped.diagonal().copy_(diagonal + recipe.ridge * diagonal.mean())
    return damped


def _cut(B: Tensor, rows: Tensor, lower: Tensor, k: int, recipe: RegMeanRecipe) -> tuple[Tensor, Tensor]:
    """(A' [k, in], B' [out, k]) of W* = B · rows · S⁻¹, both halves of each rank of equal norm."""
    whitened = torch.linalg.solve_triangular(lower, rows.mT, upper=False)  # L⁻¹ rowsᵀ = (W*'s A half · L)ᵀ [in, R]
    metric = recipe.cut == "outputs"
    if not metric:
        whitened = torch.linalg.solve_triangular(lower.mT, whitened, upper=True)
    q_b, r_b = torch.linalg.qr(B)
    q_a, r_a = torch.linalg.qr(whitened)
    u, values, vh = torch.linalg.svd(r_b @ r_a.mT, full_matrices=False)
    left, right = (q_b @ u[:, :k]) * values[:k], q_a @ vh[:k].mT  # [out, k], [in, k]
    if metric:
        right = torch.linalg.solve_triangular(lower.mT, right, upper=True)
    norms_b, norms_a = left.norm(dim=0), right.norm(dim=0)
    even = torch.where((norms_a > 0) & (norms_b > 0), (norms_b / norms_a).sqrt(), 1.0)
    return (right * even).mT, left / even


def _note_outputs(
    report: Report, results: Sequence[tuple[Units, Tensor, Tensor]], gram: Callable[[int], Tensor]
) -> None:
    """How far each adapter's outputs on its own text have moved, ‖X_i (ΔW' − ΔW_i)ᵀ‖ / ‖X_i ΔW_iᵀ‖."""
    stacked = [units.stacked() for units, _, _ in results]
    for units, _, _ in results:
        report.modules[units.module]["output_error"] = []
    for adapter in range(len(report.names)):
        whole = gram(adapter).double()
        for (units, A, B), (all_a, all_b) in zip(results, stacked, strict=True):
            own = units.owner == adapter
            right, left = torch.cat([A.double(), all_a[own]]), torch.cat([B.double(), -all_b[:, own]], 1)
            inner = (right @ whole @ right.mT) * (left.mT @ left)
            off = max(float(inner.sum()), 0.0) ** 0.5
            was = max(float(inner[len(A) :, len(A) :].sum()), 0.0) ** 0.5
            report.modules[units.module]["output_error"].append(ratio(off, was))
            report.square(f"moved {adapter}", off)
            report.square(f"outputs {adapter}", was)


def _kept_outputs(report: Report) -> dict[str, Any]:
    """Per adapter, the same over all modules."""
    count = range(len(report.names))
    return {"output_error": [ratio(report.whole(f"moved {i}"), report.whole(f"outputs {i}")) for i in count]}


@dataclass(frozen=True, slots=True)
class _Gathered:
    """Every adapter's Grams on its own text, part by part, in folders."""

    inputs: Inputs
    adapters: Sequence[LoraWeights]
    names: Sequence[str]
    texts: Sequence[Text]
    pad: int
    keep: Keep

    def gather(self, parts: list[list[str]], progress: Progress) -> dict[tuple[int, int], Path]:
        """(adapter's place, part's number) → folder."""
        each = 1 / (len(self.adapters) * len(parts))
        folders: dict[tuple[int, int], Path] = {}
        for adapter, name in enumerate(self.names):
            for number, part in enumerate(parts):
                told = share_of(progress, each * len(folders), each, f"of the text of {name}")
                told(0.0, f"Part {number + 1} of {len(parts)}")
                asked = self._asked(adapter, part)
                folders[adapter, number] = self.keep(adapter, asked, self._fill(adapter, part, told))
        return folders

    def _fill(self, adapter: int, part: list[str], progress: Progress) -> Fill:
        def fill(folder: Path) -> None:
            found = self.inputs.grams(self.adapters[adapter], self.texts[adapter], self.pad, part, progress=progress)
            write_grams(folder, found)

        return fill

    def _asked(self, adapter: int, part: list[str]) -> str:
        """A digest of what the Grams follow from, beside the adapter and the base."""
        asked = {"form": FORM, "text": self.texts[adapter].digest(), "modules": part}
        return hashlib.sha256(json.dumps(asked).encode()).hexdigest()


def _keep_below(root: Path) -> Keep:
    def keep(adapter: int, asked: str, fill: Fill) -> Path:
        folder = root / f"{adapter}-{asked}"
        if not folder.is_dir():
            folder.mkdir()
            fill(folder)
        return folder

    return keep
