"""LoRA-LEGO from cores alone: the clusters of the rank-1 units, and an estimate of what becomes of them.

Distances between units follow from L and R, so the clusters are those of `lego` (up to the order in which equal norms
are drawn). The parameter reweighting is not: its L∞ norms are those of the modules' own numbers, which cores don't
hold. Here the mean L2 norm of a cluster's units over that of its centroid stands in their place, and the merged core
is called an estimate.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from composition.merging.core.cores import Cores
from composition.merging.gram import Grams
from composition.merging.kmeans import Clustering, cluster
from composition.merging.lego import feature_gram, output_factor
from composition.recipes import LegoRecipe


@dataclass(frozen=True, slots=True)
class Clusters:
    """The clustering, that of the next seed, and the merged cores [p, q] that follow from both."""

    here: Clustering
    other: Clustering
    merged: Tensor
    merged_other: Tensor


def merged(cores: Cores, recipe: LegoRecipe) -> Tensor:
    """[p, q]: the estimated core; its rank is the number of clusters."""
    return clusters(cores, recipe).merged


def clusters(cores: Cores, recipe: LegoRecipe) -> Clusters:
    """Cluster the units of one module."""
    assert recipe.rank is not None
    count = sum(cores.ranks)
    k = min(recipe.rank, count)
    weights = torch.tensor(recipe.weights or (1.0,) * len(cores.ranks), dtype=torch.float64)
    each = weights.repeat_interleave(torch.tensor(cores.ranks))
    gram_a, gram_b = (cores.right @ cores.right.mT)[None], (cores.left.mT @ cores.left)[None]
    grams = Grams(gram_a, gram_b, gram_a.diagonal(dim1=-2, dim2=-1))
    features = feature_gram(grams, each, recipe.profile)
    raw = feature_gram(grams, each, "paper")
    order = raw.diagonal(dim1=-2, dim2=-1).argsort(dim=-1, stable=True)
    here, other = cluster(features, k, seeds=(recipe.seed, recipe.seed + 1), n_init=recipe.n_init, order=order)
    factor = output_factor(cores.ranks, k, recipe)
    made = [_merged(cores, each, raw[0], labels, k) * factor for labels in (here.labels[0], other.labels[0])]
    return Clusters(here, other, *made)


def _merged(cores: Cores, weights: Tensor, raw: Tensor, labels: Tensor, k: int) -> Tensor:
    """Centroids with the mean L2 norm of their members, as a core."""
    mean = torch.nn.functional.one_hot(labels, k).double()
    mean /= mean.sum(0)
    root = weights.abs().sqrt()
    norms = raw.diagonal().clamp_min(0).sqrt()
    centre = ((mean.mT @ raw) * mean.mT).sum(1).clamp_min(0).sqrt()
    growth = torch.where(centre > 0, (mean.mT @ norms) / centre, 1.0)
    left = cores.left @ (mean * (root * weights.sign())[:, None]) * growth
    return left @ ((mean * root[:, None]).mT @ cores.right * growth[:, None])
