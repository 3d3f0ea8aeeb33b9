"""RobustMerge against the authors' steps, one after another on stacked factors."""

from dataclasses import replace

import pytest
import torch

from composition.errors import CompositionError
from composition.merging.elementwise.robust import robust_merge
from composition.recipes.merge.robust import RobustMergeRecipe
from composition.weights import Factors, LoraWeights
from tests.composition.merging_elements import references as ref
from tests.composition.random_adapters import random_adapter, relative


def reference(adapters, density, top, scale):
    """The published script's arithmetic, for adapters of one scale."""
    A = torch.stack([a["q"].A for a in adapters])
    B = torch.stack([a["q"].B for a in adapters])
    trimmed = []
    for half in (A, B):
        flat = half.reshape(len(adapters), -1)
        edge = flat.abs().kthvalue(int(flat.shape[1] * (1 - density)), dim=1, keepdim=True).values
        trimmed.append(half * (flat.abs() >= edge).reshape(half.shape))
    by = A.abs().sum(-1) / trimmed[0].abs().sum(-1)
    rank = by.shape[1]
    low = by.sort(1).values[:, int(rank * (1 - top))]
    by = torch.clamp(by, low[:, None], by.max(1).values[:, None])
    merged_a = (scale * trimmed[0]).sum(0)
    merged_b = (scale * by[:, None] * trimmed[1]).sum(0) / by.sum(0)
    return adapters[0]["q"].scale * merged_b @ merged_a


@pytest.mark.parametrize("density", [0.2, 0.5])
@pytest.mark.parametrize("top", [0.2, 0.5, 1.0])
def test_it_is_the_authors(density, top):
    adapters = ref.adapters_of(3, scales=[2.0] * 3, rank=10)
    want = reference(adapters, density, top, 2.0)
    ours = robust_merge(adapters, RobustMergeRecipe(density=density, top=top))
    assert relative(ours.weights["q"].delta(), want) < 1e-5
    assert ours.weights["q"].rank == 10


def test_scales_weights_and_gauge():
    adapters = ref.adapters_of(2, scales=[2.0, 2.0])
    recipe = RobustMergeRecipe(density=0.5)
    plain = robust_merge(adapters, recipe).weights["q"].delta()
    assert relative(robust_merge(adapters, replace(recipe, scale=1.0)).weights["q"].delta(), plain / 4) < 1e-6
    folded = [LoraWeights({"q": Factors(a["q"].A, a["q"].B, 1.0)}) for a in adapters]
    assert relative(robust_merge(folded, replace(recipe, weights=(2.0, 2.0))).weights["q"].delta(), plain) < 1e-5
    q = torch.linalg.qr(torch.randn(4, 4, generator=torch.Generator().manual_seed(0))).Q
    f = adapters[0]["q"]
    turned = [LoraWeights({"q": Factors(q @ f.A, f.B @ q.T, 2.0)}), adapters[1]]
    balanced = replace(recipe, balanced=True)
    one, two = (robust_merge(given, balanced).weights["q"].delta() for given in (adapters, turned))
    assert relative(two, one) < 1e-4
    assert relative(robust_merge(turned, recipe).weights["q"].delta(), plain) > 0.05


def test_nothing_is_lost_at_density_one_and_zeros_divide_nothing():
    adapters = ref.adapters_of(2)
    A, B = (sum(getattr(a["q"], side) for a in adapters) for side in "AB")
    recipe = RobustMergeRecipe(density=1.0, scale=1.0)
    assert relative(robust_merge(adapters, recipe).weights["q"].delta(), (B / 2) @ A) < 1e-6
    zero = LoraWeights({"q": Factors(torch.zeros(4, 24), torch.zeros(20, 4))})
    assert torch.isfinite(robust_merge([zero, adapters[0]], RobustMergeRecipe()).weights["q"].delta()).all()


def test_unequal_ranks_are_refused():
    with pytest.raises(CompositionError, match=r"RobustMerge needs equal ranks\. Use ties"):
        robust_merge([random_adapter(0, ranks={"q": 3}), random_adapter(1, ranks={"q": 4})], RobustMergeRecipe())
