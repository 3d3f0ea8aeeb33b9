"""How often the numbers of two updates have opposite signs, told from a sample of them: no ΔW is formed.

A number of ΔW is s · (row of B) · (column of A), r products. Places are drawn at random, the same for all adapters, in
modules that are spread over the model. Of what is drawn, a pair's conflict is the share where both are not zero and
their signs differ; modules count by their size. 0.5 is what updates that have nothing to do with each other have.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from composition.merging.compare.pairs import plain
from composition.merging.compare.spread import spread
from composition.merging.elements import generator_of
from composition.progress import Progress, ignore
from composition.weights import Factors, LoraWeights

PLACES = 100_000
"""Numbers of each adapter that are looked at, over all modules."""
LEAST = 250
"""The same in one module."""
READ = 4e7
"""Numbers of factors that are read at most: modules are left out beyond."""
SURE = 1.96
"""Standard errors on either side of a share with 95 % confidence, where no module was left out."""


@dataclass(frozen=True, slots=True)
class Signs:
    """`share` and `error` n × n: the share of conflicts, and half the width of its 95 % interval; `modules` looked at.

    None stands where two adapters have no module in common, or are zero there.
    """

    share: list[list[float | None]]
    error: list[list[float | None]]
    modules: int

    def to_dict(self) -> dict[str, Any]:
        return {"sign_conflict": self.share, "sign_error": self.error}


def sign_conflicts(adapters: Sequence[LoraWeights], *, seed: int = 0, progress: Progress = ignore) -> Signs:
    """The conflicts of all pairs. The sample follows from `seed` and the modules' names."""
    names = sorted({module for adapter in adapters for module in adapter})
    chosen = _affordable(adapters, spread(names))
    each = max(LEAST, PLACES // max(1, len(chosen)))
    sizes, opposite, both = [], [], []
    for done, module in enumerate(chosen, 1):
        size, signs = _drawn([adapter.get(module) for adapter in adapters], each, generator_of(seed, module))
        agree, there = signs @ signs.mT, signs.abs() @ signs.abs().mT
        sizes.append(size)
        opposite.append((there - agree) / 2)
        both.append(there)
        progress(done / len(chosen), f"Looked at signs in {done} of {len(chosen)} modules")
    return _shares(torch.tensor(sizes).double(), torch.stack(opposite), torch.stack(both), len(names))


def _shares(sizes: Tensor, opposite: Tensor, both: Tensor, total: int) -> Signs:
    """From sizes [M] and counts [M, n, n]: two-stage sampling, modules of `total` and places within them."""
    weights = sizes[:, None, None] * (both > 0)
    weights = weights / weights.sum(0)
    by_module = torch.where(both > 0, opposite / both.clamp_min(1), 0.0)
    share = (weights * by_module).sum(0)
    within = (weights.square() * by_module * (1 - by_module) / both.clamp_min(1)).sum(0)
    count = (both > 0).sum(0)
    between = (weights.square() * (by_module - share).square()).sum(0) * count / (count - 1).clamp_min(1)
    sure = SURE if len(sizes) == total else student(max(len(sizes) - 1, 1))
    error = sure * (within + between * (1 - len(sizes) / total)).sqrt()
    return Signs(plain(share), plain(torch.where(share.isnan(), torch.nan, error)), len(sizes))


def student(freedom: int) -> float:
    """The same of a mean of freedom + 1 modules, by the expansion of Student's quantile (Fisher and Cornish, 1960)."""
    z = SURE
    return z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)


def _drawn(factors: Sequence[Factors | None], count: int, generator: torch.Generator) -> tuple[int, Tensor]:
    """(numbers of the module, signs [n, count] of each adapter at the same places, 0 where it lacks the module)."""
    first = next(one for one in factors if one is not None)
    rows = torch.randint(first.out_features, (count,), generator=generator)
    columns = torch.randint(first.in_features, (count,), generator=generator)
    signs = torch.zeros(len(factors), count, dtype=torch.float64)
    for place, one in enumerate(factors):
        if one is not None and one.scale:
            found = (one.B[rows].float() * one.A[:, columns].mT.float()).sum(1)
            signs[place] = found.sign() * (1 if one.scale > 0 else -1)
    return first.out_features * first.in_features, signs


def _affordable(adapters: Sequence[LoraWeights], modules: Sequence[str]) -> list[str]:
    """The first of the modules whose factors are read within `READ` numbers; one in any case."""
    taken: list[str] = []
    spent = 0.0
    for module in modules:
        facts = [adapter.module_facts(module) for adapter in adapters if module in adapter]
        spent += sum(one.r * (one.in_features + one.out_features) for one in facts)
        if taken and spent > READ:
            break
        taken.append(module)
    return taken
