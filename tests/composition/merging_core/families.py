"""Families of small adapters in which merges on cores could go wrong, each with its trait."""

import torch

from composition.weights import Factors, LoraWeights
from tests.composition.random_adapters import random_adapter

IN, OUT = 24, 20


def related(seed, ranks=(3, 3, 3), scales=(1.0, 1.0, 1.0), noise=0.15, module="q", dtype=torch.float32):
    """Adapters that share four input and output directions and have a little of their own."""
    g = torch.Generator().manual_seed(seed)
    inputs, outputs = torch.randn(4, IN, generator=g), torch.randn(OUT, 4, generator=g)
    adapters = []
    for r, scale in zip(ranks, scales, strict=True):
        A = torch.randn(r, 4, generator=g) @ inputs + noise * torch.randn(r, IN, generator=g)
        B = outputs @ torch.randn(4, r, generator=g) + noise * torch.randn(OUT, r, generator=g)
        adapters.append(LoraWeights({module: Factors((A * 0.3).to(dtype), (B * 0.3).to(dtype), scale)}))
    return adapters


def with_extra_module(adapters):
    """The first adapter lacks the module `v`; all others have it."""
    more = [random_adapter(90 + i, ranks={"v": 2 + i}) for i in range(len(adapters))]
    return [
        LoraWeights(dict(adapter) if not i else {**adapter, "v": more[i]["v"]}) for i, adapter in enumerate(adapters)
    ]


def idle():
    """An adapter as training starts it: B is zero."""
    return LoraWeights({"q": Factors(torch.ones(2, IN), torch.zeros(OUT, 2))})


FAMILIES = {
    "plain": lambda: related(0),
    "unequal ranks": lambda: related(1, (1, 4, 2)),
    "signed scales": lambda: related(2, scales=(2.0, -0.5, 16 / 8**0.5)),
    "missing module": lambda: with_extra_module(related(3)),
    "same A": lambda: [random_adapter(i, ranks={"q": 3}, a_seed=7, width=(IN, OUT)) for i in range(3)],
    "half precision": lambda: related(4, dtype=torch.float16),
    "bfloat16": lambda: related(5, (2, 3, 3), dtype=torch.bfloat16),
    "more units than features": lambda: [random_adapter(i, ranks={"q": 9}, width=(IN, OUT)) for i in range(3)],
    "one without effect": lambda: [
        *related(6)[:2],
        LoraWeights({"q": Factors(torch.ones(2, IN), torch.zeros(OUT, 2))}),
    ],
}
