"""Plain merges as cores, the sum and the rank-wise average, so that they can be judged without weights."""

import torch
from torch import Tensor

from composition.merging.core.cores import Cores
from composition.merging.walk import shares
from composition.recipes import AverageRecipe, CatRecipe


def total(cores: Cores, recipe: CatRecipe) -> Tensor:
    """[p, q]: Σ w_i M_i, w = 1 each where none are given; what `cat` keeps whole."""
    return cores.whole(recipe.weights or (1.0,) * len(cores.ranks))


def rankwise(cores: Cores, recipe: AverageRecipe) -> Tensor:
    """[p, q]: (Σ w_i L_i)(Σ |w_i| R_i), w = 1/n each where none are given; the present ranks are equal."""
    weights = shares(recipe, len(cores.ranks))
    left = torch.stack([weights[i] * cores.factors(i)[0] for i in cores.present])
    right = torch.stack([abs(weights[i]) * cores.factors(i)[1] for i in cores.present])
    return left.sum(0) @ right.sum(0)
