"""Rules on single numbers of stacked updates: trimming, dropping, electing a sign, a mean of those that agree.

Everything here takes a stack [n, …], one entry an adapter, in whatever space a method works: dense ΔW, factors or
cores. What is drawn comes from a generator that the caller seeds (`generator_of`).

TIES (Yadav et al., 2023, arXiv:2306.01708) trims each update to its largest numbers, elects the sign of each place by
the sum of what is left, and takes the mean of those that agree with it. DARE (Yu et al., 2024, arXiv:2311.03099) drops
numbers at random and divides the rest by the share that stays. DELLA (Deep et al., 2024, arXiv:2406.11617) drops small
numbers more often than large ones.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


def generator_of(seed: int, *names: object) -> torch.Generator:
    """A generator for one place of a merge, as a module and an adapter's number: draws don't depend on other places."""
    digest = hashlib.sha256("\0".join(map(str, (seed, *names))).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)


def kept_of(size: int, density: float) -> int:
    """How many of `size` numbers a density keeps: ⌊density · size⌋ as PEFT and mergekit count, but one at least."""
    return min(size, max(1, int(density * size)))


@dataclass(slots=True)
class Cut:
    """Where to trim numbers that come in pieces: all above `edge` stay, and of those at it the first `spare`."""

    edge: float
    spare: int

    @classmethod
    def of(cls, magnitudes: Tensor, k: int) -> "Cut":
        """The cut that keeps exactly k of some magnitudes ≥ 0 of any shape."""
        flat = magnitudes.contiguous().view(-1)
        if k >= len(flat):
            return cls(-1.0, 0)
        if k <= 0:
            return cls(float("inf"), 0)
        place = len(flat) - k
        edge = float(np.partition(flat.numpy(), place)[place])
        return cls(edge, k - int((flat > edge).sum()))

    def mask(self, magnitudes: Tensor) -> Tensor:
        """Which of the next piece's magnitudes stay; pieces are given in order."""
        mask = magnitudes > self.edge
        ties = (magnitudes == self.edge).view(-1).nonzero().flatten()[: self.spare]
        self.spare -= len(ties)
        mask.view(-1)[ties] = True
        return mask

    def trim(self, piece: Tensor) -> Tensor:
        """The next piece, zero where it is trimmed."""
        return piece * self.mask(piece.abs())


def largest(magnitudes: Tensor, k: int) -> Tensor:
    """Mask of exactly k largest of some magnitudes ≥ 0 of any shape; of equal ones at the edge, the first."""
    return Cut.of(magnitudes, k).mask(magnitudes)


def trim(updates: Tensor, density: float) -> Tensor:
    """[n, …]: each update's largest numbers by magnitude, the share `density` of them; zero elsewhere."""
    if density >= 1:
        return updates
    size = updates[0].numel()
    return torch.stack([each * largest(each.abs(), kept_of(size, density)) for each in updates])


def dare(updates: Tensor, density: float, generators: Sequence[torch.Generator], *, rescale: bool = True) -> Tensor:
    """[n, …]: each number stays with probability `density`, and is divided by it, so that nothing changes on average.

    One generator for each update.
    """
    if density >= 1:
        return updates
    masks = torch.stack(
        [torch.rand(each.shape, generator=g) < density for each, g in zip(updates, generators, strict=True)]
    )
    return updates * masks / (density if rescale else 1.0)


def della(
    updates: Tensor, density: float, epsilon: float, generators: Sequence[torch.Generator], *, rescale: bool = True
) -> Tensor:
    """[n, …, d]: each number stays with a probability that grows with its rank by magnitude within its row of d.

    It goes evenly from density − ε, for a row's smallest, to density + ε, for its largest; both must lie in (0, 1).
    A number that stays is divided by its probability.
    """
    if density >= 1:
        return updates
    chance = della_chances(updates, density, epsilon)
    draws = [torch.rand(each.shape, generator=g) for each, g in zip(updates, generators, strict=True)]
    kept = updates * (torch.stack(draws) < chance)
    return kept / chance if rescale else kept


def della_chances(updates: Tensor, density: float, epsilon: float) -> Tensor:
    """[n, …, d]: the probability with which `della` keeps each number."""
    width = updates.shape[-1]
    order = torch.argsort(updates.abs(), dim=-1, stable=True)
    places = torch.arange(width, dtype=updates.dtype).expand_as(updates)
    ranks = torch.empty_like(updates).scatter_(-1, order, places)
    return density - epsilon + ranks * (2 * epsilon / max(width - 1, 1))


def elect(updates: Tensor, by: str = "mass") -> Tensor:
    """[…] of ±1: the sign of each place by the sum of its numbers ("mass") or of their signs ("count"); + at zero."""
    total = updates.sum(0) if by == "mass" else updates.sign().sum(0)
    return torch.where(total >= 0, 1.0, -1.0).to(updates.dtype)


def disjoint_mean(updates: Tensor, sign: Tensor, weights: Sequence[float] | None = None) -> Tensor:
    """[…]: of each place, the mean of the numbers that have the elected sign; zero where none has.

    `updates` come weighted; with `weights` the sum is divided by the |weights| of those that agree, else by how many
    agree. A zero agrees with nobody.
    """
    parts = None if weights is None else torch.tensor([abs(w) for w in weights], dtype=updates.dtype)
    return mean_of_agreeing(updates, updates.sign() == sign, parts)


def mean_of_agreeing(updates: Tensor, agrees: Tensor, parts: Tensor | None) -> Tensor:
    """[…]: the sum of those updates [n, …] that agree [n, …], divided by their `parts` [n], or else by their number."""
    total = (updates * agrees).sum(0)
    if parts is None:
        return total / agrees.sum(0).clamp_min(1)
    divisor = (agrees * parts.view(-1, *[1] * (updates.ndim - 1))).sum(0)
    return total / torch.where(divisor > 0, divisor, 1.0)


def agreed(trimmed: Tensor, weights: Sequence[float] | None = None, by: str = "mass") -> Tensor:
    """[…]: elect and mean of those that agree, for trimmed updates [n, …].

    Weights multiply the updates before the election, so that a negative one votes against; the mean divides by the
    |weights| of those that agree, so that only their proportions matter.
    """
    if weights is not None:
        trimmed = trimmed * torch.tensor(weights, dtype=trimmed.dtype).view(-1, *[1] * (trimmed.ndim - 1))
    return disjoint_mean(trimmed, elect(trimmed, by), weights)


def ties(updates: Tensor, density: float, weights: Sequence[float] | None = None, by: str = "mass") -> Tensor:
    """[…]: TIES of updates [n, …]: each trimmed to the share `density`, then what they agree on (`agreed`)."""
    return agreed(trim(updates, density), weights, by)
