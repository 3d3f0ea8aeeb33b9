"""What a rule makes of the numbers of several adapters, block by block.

    1. leave numbers out (`composition.merging.elements` has the rules and their sources)
    2. rescale: make up for those that were dropped at random
    3. weigh, elect a sign for each number, and add up those that agree

    PEFT:      sign_j = sign Σ_i t_ij,      m_j = Σ_{i agrees} w_i t_ij / #agreeing
    mergekit:  sign_j = sign Σ_i w_i t_ij,  m_j = Σ_{i agrees} w_i t_ij / Σ_{i agrees} w_i

Blocks are [n, rows, in] float32, whole rows in their order, so that what is drawn and which of equal numbers stay is
the same as in one block. A sweep over them begins with `Rule.begin`. What must be known of all numbers first (edges,
norms) is found by `prepared`, in sweeps of its own. Where mergekit divides by Σ w, |w| stands here: negative weights
don't cancel the divisor.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from composition.merging import elements
from composition.merging.elementwise.edges import Above, Edge, edges
from composition.recipes.merge.elementwise import Election, Leaving

Blocks = Callable[[], Iterable[Tensor]]
BY = {"total": "mass", "frequency": "count"}


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule on `size` numbers from each of the adapters numbered `adapters`, at `place` (draws depend on both).

    `found` holds edges, a list for each count of `_counts`; `norms` [n] what restores each update's sum of magnitudes.
    """

    leaving: Leaving
    place: str
    size: int
    adapters: tuple[int, ...]
    found: tuple[list[Edge], ...] = ()
    norms: Tensor | None = None

    def begin(self) -> "Mask":
        """The mask of a new sweep."""
        seed = self.leaving.seed
        generators = [elements.generator_of(seed, self.place, adapter) for adapter in self.adapters]
        return Mask(self, [Above(each) for each in self.found], generators)


class Mask:
    """Takes the blocks of a sweep in their order; what it has seen of equal numbers and of draws is its state."""

    def __init__(self, rule: Rule, above: Sequence[Above], generators: Sequence[torch.Generator]) -> None:
        self._rule, self._above, self._generators = rule, above, generators

    def __call__(self, block: Tensor) -> Tensor:
        """The next block's numbers that stay, rescaled; zero elsewhere."""
        kept = self._kept(block)
        return kept if self._rule.norms is None else kept * self._rule.norms[:, None, None]

    def fork(self) -> "Mask":
        """One that goes on from here by itself."""
        above = [each.fork() for each in self._above]
        return Mask(self._rule, above, [torch.Generator().set_state(g.get_state()) for g in self._generators])

    def _kept(self, block: Tensor) -> Tensor:
        leaving = self._rule.leaving
        if leaving.density >= 1:
            return block
        if leaving.rule in ("magnitude", "middle"):
            magnitudes = block.abs()
            lower, *upper = (above.mask(magnitudes) for above in self._above)
            for mask in upper:
                lower &= ~mask
            return block * lower
        rescale = leaving.rescale == "chance"
        if leaving.rule == "random":
            return elements.dare(block, leaving.density, self._generators, rescale=rescale)
        return elements.della(block, leaving.density, leaving.epsilon, self._generators, rescale=rescale)


def prepared(leaving: Leaving, place: str, blocks: Blocks, size: int, adapters: Sequence[int]) -> Rule:
    """The rule for numbers that come by in `blocks`, `size` from each adapter."""
    rule = Rule(leaving, place, size, tuple(adapters))
    if leaving.density >= 1:
        return rule
    counts = _counts(leaving, size)
    if counts:
        rule = replace(rule, found=tuple(map(list, zip(*edges(blocks, counts, len(adapters)), strict=True))))
    if leaving.rescale != "l1":
        return rule
    mask, (before, after) = rule.begin(), torch.zeros(2, len(adapters), dtype=torch.float64)
    for block in blocks():
        before += block.abs().sum((1, 2), dtype=torch.float64)
        after += mask(block).abs().sum((1, 2), dtype=torch.float64)
    return replace(rule, norms=torch.where(after > 0, before / after, 1.0).float())


def _counts(leaving: Leaving, size: int) -> list[int]:
    """How many of the largest numbers the rule must tell apart: those up to its lower end, those beyond its upper."""
    if leaving.rule not in ("magnitude", "middle"):
        return []
    keep = elements.kept_of(size, leaving.density)
    top = min(int(leaving.gamma * size), size - keep)
    return [keep + top, top] if top else [keep]


def combined(kept: Tensor, weights: Tensor, election: Election | None, shares: Tensor | None = None) -> Tensor:
    """[rows, in]: numbers that stayed [n, rows, in], weighed [n] and added up; only those that agree in an election.

    `shares` [n] are what the divisor adds up, |weights| where there are none.
    """
    weighted = kept * weights[:, None, None]
    if election is None:
        return weighted.sum(0)
    votes = weighted if election.weighted else kept
    agrees = votes.sign() == elements.elect(votes, BY[election.by])
    if election.divide == "nothing":
        return (weighted * agrees).sum(0)
    parts = weights.abs() if shares is None else shares
    return elements.mean_of_agreeing(weighted, agrees, None if election.divide == "number" else parts)
