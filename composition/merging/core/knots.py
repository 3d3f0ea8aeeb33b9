"""KnOTS (Stoica et al., ICLR 2025, arXiv:2410.19735): TIES on updates that are aligned by one SVD.

    [ΔW_1 … ΔW_n] = U Σ [V_1 … V_n]ᵀ,   ΔW' = λ U · TIES(Σ V_1ᵀ, …, Σ V_nᵀ)

U [out, p] is common, so that rows of the Σ V_iᵀ [p, in] mean the same direction for all adapters. As in the official
code, updates stand side by side (a common output side), Σ stays with V, and the mean is over those that agree in sign.
There one threshold serves all layers of an adapter; here each module has its own.

In factors: U and Σ² are eigenvectors and eigenvalues of Σ_i ΔW_i ΔW_iᵀ, small in the cores' basis, and Σ V_iᵀ is
(Uᵀ B̂_i) Â_i. It is made twice, an adapter at a time for its threshold, then in blocks of rows for the election. The
result is cut to rank k by the Gram of the p merged rows. O(n p r in) work a module.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from composition.merging import elements
from composition.merging.core.cores import ZERO, Cores, cores_of
from composition.merging.core.merge import SPREAD, kept_rank, retained, tell_cut
from composition.merging.diagnostics import MergeResult, Report
from composition.merging.gram import grams
from composition.merging.units import Units
from composition.merging.walk import Merged, walk
from composition.progress import Progress, ignore
from composition.recipes.merge.aligned import KnotsRecipe
from composition.weights import LoraWeights

__all__ = ["KnotsRecipe", "knots"]

BLOCK_NUMBERS = 2**20
"""How many numbers of all adapters together are merged at a time."""


def knots(adapters: Sequence[LoraWeights], recipe: KnotsRecipe, *, progress: Progress = ignore) -> MergeResult:
    """Raises CompositionError where the adapters don't fit the recipe or hold values that are not finite."""
    return walk(adapters, recipe, _merge, said="Aligned", summary=retained, progress=progress)


def _merge(group: list[Units], recipe: KnotsRecipe, report: Report) -> Merged:
    gram = grams(group, report.names)
    for m, units in enumerate(group):
        cores = cores_of(units, gram, m)
        basis = common_basis(cores)
        rows = recipe.scale * merged_rows(units, basis.mT @ cores.left, recipe)
        turn, values = _cut(rows, kept_rank(recipe, units))
        A = (turn.mT.float() @ rows) / values.sqrt().clamp_min(1e-30)[:, None].float()
        assert cores.lift is not None
        B, _ = cores.lift(basis @ turn * values.sqrt(), cores.right.new_zeros(0, cores.right.shape[1]))
        report.measure(units, A, B)
        tell_cut(report, units.module, values, rows)
        yield units, A, B


def common_basis(cores: Cores) -> Tensor:
    """[p, p']: U in the cores' basis, without directions that are rounding."""
    side_by_side = torch.cat([left @ _triangle(right) for left, right in cores.pairs()], 1)
    squares, vectors = torch.linalg.eigh(side_by_side @ side_by_side.mT)
    return vectors[:, squares > ZERO * squares[-1:]].flip(1)


def _triangle(right: Tensor) -> Tensor:
    """[r, min(r, q)] with the products of rows of right [r, q]."""
    return torch.linalg.qr(right.mT, mode="r").R.mT


def merged_rows(units: Units, turned: Tensor, recipe: KnotsRecipe) -> Tensor:
    """[p', in] float32: TIES of the Σ V_iᵀ, for turned = Uᵀ B̂ [p', R]."""
    weights = None if recipe.weights is None else [w for w, r in zip(recipe.weights, units.ranks, strict=True) if r]
    parts = list(_coordinates(units, turned))
    cuts = [
        elements.Cut.of((left @ right).abs(), elements.kept_of(len(left) * right.shape[1], recipe.density))
        for left, right in parts
    ]
    merged = torch.empty(len(turned), units.in_features)
    step = max(1, BLOCK_NUMBERS // (len(parts) * units.in_features))
    for begin in range(0, len(turned), step):
        block = slice(begin, begin + step)
        trimmed = torch.stack([cut.trim(left[block] @ right) for cut, (left, right) in zip(cuts, parts, strict=True)])
        merged[block] = elements.agreed(trimmed, weights)
    return merged


def _coordinates(units: Units, turned: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """(left [p', r], right [r, in]) of each adapter's Σ V_iᵀ, in float32."""
    folded = (turned * units.fold).float()
    begin = 0
    for factors in units.factors:
        yield folded[:, begin : begin + factors.rank], factors.A.float()
        begin += factors.rank


def _cut(rows: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """(the k strongest left singular vectors of rows [p, in], singular values [k]); zeros where there are fewer."""
    wide = rows.double()
    squares, vectors = torch.linalg.eigh(wide @ wide.mT)
    values = squares.flip(0)[:k].clamp_min(0).sqrt()
    vectors = vectors.flip(1)[:, :k] * (values > values[:1] / SPREAD**2)
    missing = k - len(values)
    return torch.nn.functional.pad(vectors, (0, missing)), torch.nn.functional.pad(values, (0, missing))
