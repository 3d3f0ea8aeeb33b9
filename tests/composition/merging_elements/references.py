"""Slow dense references of elementwise merges, written from the published formulas; and PEFT's own merge."""

import math

import torch
from peft import LoraConfig, get_peft_model

from composition.merging import elements
from tests.composition.random_adapters import random_adapter

MODULE = "q"


def adapters_of(count, seed=0, width=(24, 20), rank=4, scales=None, **more):
    """Adapters of one module `q`."""
    scales = scales or [1.0] * count
    return [random_adapter(seed + i, ranks={MODULE: rank}, width=width, scale=scales[i], **more) for i in range(count)]


def deltas(adapters, module=MODULE):
    """[n, out, in] float32, the scale after the product as PEFT has it."""
    return torch.stack([(a[module].B.float() @ a[module].A.float()) * a[module].scale for a in adapters])


def draw(shape, seed, place, adapter):
    """What a rule draws for one adapter, whole."""
    return torch.rand(shape, generator=elements.generator_of(seed, place, adapter))


def magnitude(x, density):
    """mergekit's `magnitude`, PEFT's `magnitude_based_pruning`."""
    order = x.abs().flatten().sort(descending=True, stable=True).indices[: int(density * x.numel())]
    mask = torch.zeros(x.numel())
    mask[order] = 1
    return x * mask.view(x.shape)


def middle(x, density, gamma):
    """mergekit's `magnitude_outliers`: rising order without so many of the smallest and of the largest."""
    keep, top = int(density * x.numel()), int(gamma * x.numel())
    bottom = x.numel() - keep - top
    if bottom < 0:
        top, bottom = top + bottom, 0
    rising = x.abs().flatten().sort(stable=True).indices
    mask = torch.zeros(x.numel())
    mask[rising[bottom : x.numel() - top]] = 1
    return x * mask.view(x.shape)


def rescaled(x, mask, how, chance):
    if how == "chance":
        return x * mask / chance
    if how == "l1":
        return x * mask * (x.abs().sum() / (x * mask).abs().sum())
    return x * mask


def random(x, density, how, draws):
    """DARE."""
    return rescaled(x, (draws < density).float(), how, density)


def ranked(x, density, epsilon, how, draws):
    """DELLA's MagPrune: rank within the row, probabilities from density − ε to density + ε."""
    chance = torch.zeros_like(x)
    for row in range(len(x)):
        for place, column in enumerate(x[row].abs().argsort(stable=True).tolist()):
            chance[row, column] = density - epsilon + 2 * epsilon * place / (x.shape[1] - 1)
    return rescaled(x, (draws < chance).float(), how, chance)


def mergekit(kept, weights, consensus, normalize):
    """mergekit's generalised task arithmetic on sparsified task vectors [n, …]."""
    each = torch.tensor(weights, dtype=kept.dtype).view(-1, *[1] * (kept.ndim - 1))
    weighted = kept * each
    if consensus is None:
        return weighted.sum(0)
    votes = weighted.sum(0) if consensus == "total" else weighted.sign().sum(0)
    agrees = (weighted.sign() == torch.where(votes >= 0, 1.0, -1.0)).float()
    divisor = (agrees * each).sum(0)
    divisor[divisor == 0] = 1
    mixed = (weighted * agrees).sum(0)
    return mixed / divisor if normalize else mixed


def best(matrix, k):
    """The best rank-k approximation, dense."""
    u, s, vh = torch.linalg.svd(matrix.double(), full_matrices=False)
    return (u[:, :k] * s[:k]) @ vh[:k]


def peft_delta(adapters, weights, kind, monkeypatch=None, masks=(), **more):
    """ΔW [out, in] of PEFT's `add_weighted_adapter`; `masks` are what its random pruning keeps, call by call."""
    width, out = adapters[0][MODULE].in_features, adapters[0][MODULE].out_features
    base = torch.nn.Module()
    base.add_module(MODULE, torch.nn.Linear(width, out, bias=False))
    model = None
    for i, adapter in enumerate(adapters):
        f = adapter[MODULE]
        config = LoraConfig(r=f.rank, lora_alpha=f.scale * f.rank, target_modules=[MODULE])
        if model is None:
            model = get_peft_model(base, config, adapter_name="a0")
        else:
            model.add_adapter(f"a{i}", config)
        layer = getattr(model.base_model.model, MODULE)
        layer.lora_A[f"a{i}"].weight.data.copy_(f.A)
        layer.lora_B[f"a{i}"].weight.data.copy_(f.B)
    if masks:
        left = iter(masks)

        def pruned(tensor, density, rescale):
            return tensor * next(left) / (density if rescale else 1)

        monkeypatch.setattr("peft.utils.merge_utils.random_pruning", pruned)
    names = [f"a{i}" for i in range(len(adapters))]
    model.add_weighted_adapter(names, list(weights), "merged", combination_type=kind, **more)
    layer = getattr(model.base_model.model, MODULE)
    return layer.get_delta_weight("merged").detach()


def sqrt_sign(value):
    """±√|value|."""
    return math.copysign(abs(value) ** 0.5, value)
