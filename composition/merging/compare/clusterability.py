"""Whether rank-1 units of different adapters form clusters, as LoRA-LEGO supposes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from composition.merging.core.cores import Cores
from composition.merging.core.lego import clusters
from composition.merging.diagnostics import ratio
from composition.recipes import LegoRecipe

STARTS = 3
"""Restarts of k-means here: these figures need fewer than a merge does."""


@dataclass(slots=True)
class Clusterability:
    """k-means of the units into `rank` clusters a module, from two seeds, added up over modules."""

    rank: int
    weights: Sequence[float] | None
    inertia: float = 0.0
    total: float = 0.0
    change: float = 0.0
    norm: float = 0.0
    alone: int = 0
    count: int = 0

    def add(self, cores: Cores) -> None:
        """Add a module."""
        weights = tuple(self.weights) if self.weights else None
        found = clusters(cores, LegoRecipe(rank=self.rank, weights=weights, n_init=STARTS))
        self.inertia += max(float(found.here.inertia[0]), 0.0)
        self.total += float(found.here.total[0])
        self.change += float((found.merged - found.merged_other).square().sum())
        self.norm += float(found.merged.square().sum())
        owner = torch.repeat_interleave(torch.arange(len(cores.ranks)), torch.tensor(cores.ranks))
        labels = found.here.labels[0]
        for cluster in labels.unique():
            self.count += 1
            self.alone += len(owner[labels == cluster].unique()) == 1

    def to_dict(self) -> dict[str, Any]:
        """`inertia_ratio`: the share of the spread that stays inside clusters; `seed_change`: how far another seed
        moves the result, over its norm; `alone`: the share of clusters that one adapter fed alone."""
        return {
            "inertia_ratio": ratio(self.inertia, self.total),
            "seed_change": ratio(self.change**0.5, self.norm**0.5),
            "alone": ratio(self.alone, self.count),
        }
