"""What is merged how: methods of the library by their recipes, and labelled experiments with LEGO's units and RegMean.

A method is (adapters, k, facts) → adapter, where `facts()` gathers Grams when it is first called. A registry method
that isn't there is left out, so that a new one is measured as soon as it has a row.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import torch

from composition.registry import METHODS, recipe_from_dict
from composition.weights import Factors, LoraWeights

from .calibration import Calibration, alike, in_metric, regmean

Adapters = Sequence[LoraWeights]
Facts = Callable[[], Calibration]
Make = Callable[[Adapters, int, Facts], LoraWeights]


@dataclass(frozen=True)
class Way:
    """A method under the label of its row. `sized`: k means something."""

    label: str
    make: Make
    sized: bool = True
    experiment: bool = False


def call(kind: str, adapters: Adapters, **given: object) -> LoraWeights:
    """A registry method's result, by its recipe."""
    return METHODS[kind].load()(list(adapters), recipe_from_dict({"kind": kind, **given})).weights


def by_recipe(kind: str, sized: bool = True, **given: object) -> Make:
    """A registry method at its defaults but for the given fields, and at rank k if it is `sized`."""
    return lambda adapters, k, _: call(kind, adapters, **({"rank": k} if sized else {}), **given)


def mean(adapters: Adapters) -> LoraWeights:
    """(1/n) Σ ΔW_i at rank Σr."""
    return call("cat", adapters, weights=[1 / len(adapters)] * len(adapters))


def scaled(adapter: LoraWeights, factor: float) -> LoraWeights:
    return alike(adapter, {name: Factors(f.A, f.B, f.scale * factor) for name, f in adapter.items()})


def balanced(adapter: LoraWeights) -> LoraWeights:
    """The same ΔW as √S-weighted singular vectors: units that are orthogonal, with halves of equal norms."""
    return call("svd", [adapter], rank=max(f.rank for f in adapter.values()))


def to_norm_of_mean(adapters: Adapters, result: LoraWeights) -> LoraWeights:
    """The result with every module scaled to the norm of the mean's."""
    target = mean(adapters)
    modules = {}
    for name, f in result.items():
        modules[name] = Factors(f.A, f.B, f.scale * norm(target[name]) / max(norm(f), 1e-30))
    return alike(result, modules)


def norm(f: Factors) -> float:
    """‖ΔW‖_F from R × R products."""
    A, B = f.A.double(), f.B.double()
    return abs(f.scale) * float(((A @ A.mT) * (B.mT @ B)).sum().clamp_min(0).sqrt())


def cosine(one: LoraWeights, other: LoraWeights) -> float:
    """Of two adapters as vectors of all modules."""
    inner = squares = others = 0.0
    for name, f in one.items():
        g = other[name]
        product = (g.A.double() @ f.A.double().mT) * (g.B.double().mT @ f.B.double())
        inner += f.scale * g.scale * float(product.sum())
        squares += norm(f) ** 2
        others += norm(g) ** 2
    return inner / (squares * others) ** 0.5


def _cut_regmean(adapters: Adapters, k: int, facts: Facts) -> LoraWeights:
    whole = regmean(adapters, facts())
    return in_metric(call("svd", [in_metric(whole, facts())], rank=k), facts(), back=True)


def _lego_in_metric(adapters: Adapters, k: int, facts: Facts) -> LoraWeights:
    return in_metric(call("lego", [in_metric(a, facts()) for a in adapters], rank=k), facts(), back=True)


def _lego_of_regmean(adapters: Adapters, k: int, facts: Facts) -> LoraWeights:
    """LEGO's clusters among the units of n·W*: each adapter's own, as RegMean moves them before it averages."""
    whole = regmean(adapters, facts())
    count = len(adapters)
    begin, parts = 0, []
    for a in adapters:
        own = {}
        for name, f in a.items():
            span = slice(begin, begin + f.rank)
            own[name] = Factors(whole[name].A[span] * count, whole[name].B[:, span] * whole[name].scale)
        begin += next(iter(a.values())).rank
        parts.append(alike(a, own))
    return call("lego", parts, rank=k)


def _lego_balanced_metric(adapters: Adapters, k: int, facts: Facts) -> LoraWeights:
    units = [balanced(in_metric(a, facts())) for a in adapters]
    return in_metric(call("lego", units, rank=k), facts(), back=True)


WAYS = (
    Way("LEGO", by_recipe("lego")),
    Way("rank-wise average", lambda adapters, k, _: call("average", adapters), sized=False),
    Way("mean, rank Σr", lambda adapters, k, _: mean(adapters), sized=False),
    Way("sum, rank Σr", lambda adapters, k, _: call("cat", adapters), sized=False),
    Way("SVD of the mean", by_recipe("svd")),
    Way("task arithmetic", by_recipe("task-arithmetic")),
    Way("RegMean", _cut_regmean),
    Way("RegMean, rank Σr", lambda adapters, k, facts: regmean(adapters, facts()), sized=False),
    Way("RegMean, plain SVD", lambda a, k, facts: call("svd", [regmean(a, facts())], rank=k), experiment=True),
    Way("LEGO ctm", by_recipe("lego", profile="ctm"), experiment=True),
    Way("LEGO nsc", by_recipe("lego", profile="nsc"), experiment=True),
    Way("LEGO, seed 1", by_recipe("lego", seed=1), experiment=True),
    Way("LEGO on balanced units", lambda a, k, _: call("lego", [balanced(x) for x in a], rank=k), experiment=True),
    Way("LEGO at the mean's norm", lambda a, k, _: to_norm_of_mean(a, call("lego", a, rank=k)), experiment=True),
    Way("LEGO in the activations' metric", _lego_in_metric, experiment=True),
    Way("LEGO on balanced units of the metric", _lego_balanced_metric, experiment=True),
    Way("LEGO on RegMean's units", _lego_of_regmean, experiment=True),
)
NAMED = {"lego", "average", "cat", "svd", "task-arithmetic"}
"""Methods of the registry that stand in `WAYS` already."""


def ways() -> list[Way]:
    """`WAYS`, and each other method of the registry that mixes any number of adapters from their files alone."""
    found = list(WAYS)
    for kind, method in METHODS.items():
        mixes = method.verb == "merge" and method.purpose in ("balance", "conflicts") and kind not in NAMED
        if not mixes or method.needs.base_model or (method.needs.max_inputs or 99) < 6:
            continue
        options = {field.name: field.metadata for field in fields(method.recipe)}
        sized = "rank" in options
        for inner in options["inner"]["choices"] if "inner" in options else (None,):
            extra = {} if inner is None else {"inner": inner}
            label = method.label if inner is None else f"{method.label}, {inner}"
            found.append(Way(label, by_recipe(kind, sized, **extra), sized))
    return found


torch.set_num_threads(1)
