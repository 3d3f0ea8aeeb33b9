"""What merges on cores don't depend on: the adapters' order, the order and turning of ranks, padding, factoring.

Examples are the same in every run: where TIES cuts between two numbers, rounding decides once in many thousand of them.
"""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from composition.registry import METHODS
from composition.weights import Factors, LoraWeights
from tests.composition.merging_core.families import IN, OUT, related
from tests.composition.random_adapters import relative

# Those that see ΔW alone, and those that see how it is factored, too (a scale moved from A to B).
UPDATES_ALONE = {
    "svd": {},
    "task-arithmetic": {},
    "tsv": {},
    "iso-c": {},
    "iso-cts": {},
    "knots": {},
    "ctm": {},
    "pico": {"directions": "updates", "inner": "tsv"},
}
FACTORED = {"core-space": {}, "pico": {}}
EVERY = [*UPDATES_ALONE.items(), *FACTORED.items(), ("pico", {"inner": "ties"}), ("core-space", {"isotropic": True})]


def delta(kind, adapters, **fields):
    row = METHODS[kind]
    return row.load()(adapters, row.recipe(rank=4, **fields)).weights["q"].delta()


def changed(adapters, change):
    return [LoraWeights({"q": change(i, a["q"])}) for i, a in enumerate(adapters)]


@pytest.mark.parametrize(("kind", "fields"), EVERY)
@settings(max_examples=6, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10**6))
def test_neither_order_nor_padding_nor_turned_ranks_count(kind, fields, seed):
    adapters = related(seed, (2, 3, 4), (1.0, 2.0, -0.5))
    one = delta(kind, adapters, weights=(1.0, 0.5, 2.0), **fields)
    g = torch.Generator().manual_seed(seed)
    other = delta(kind, [adapters[2], adapters[0], adapters[1]], weights=(2.0, 1.0, 0.5), **fields)
    assert relative(other, one) < 1e-4, "the order of adapters"

    def permuted(i, f):
        order = torch.randperm(f.rank, generator=g)
        return Factors(f.A[order], f.B[:, order], f.scale)

    def padded(i, f):
        return Factors(torch.cat([f.A, torch.ones(1, IN)]), torch.cat([f.B, torch.zeros(OUT, 1)], 1), f.scale)

    def turned(i, f):
        q = torch.linalg.qr(torch.randn(f.rank, f.rank, generator=g)).Q
        return Factors(q @ f.A, f.B @ q.T, f.scale)

    changes = {"the order of ranks": permuted, "turned ranks": turned}
    if kind not in FACTORED:
        changes["padding"] = padded
    for what, change in changes.items():
        again = delta(kind, changed(adapters, change), weights=(1.0, 0.5, 2.0), **fields)
        assert relative(again, one) < 1e-4, what


@pytest.mark.parametrize(("kind", "fields"), UPDATES_ALONE.items())
@settings(max_examples=6, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10**6), c=st.floats(0.05, 20))
def test_how_an_update_is_factored_does_not_count(kind, fields, seed, c):
    adapters = related(seed, (2, 3, 4))

    def mixed(i, f):
        g = torch.Generator().manual_seed(seed + i)
        m = torch.eye(f.rank) + 0.3 * torch.randn(f.rank, f.rank, generator=g)
        return Factors(c ** (i - 1) * (m @ f.A), c ** (1 - i) * (f.B @ torch.linalg.inv(m)), f.scale)

    assert relative(delta(kind, changed(adapters, mixed), **fields), delta(kind, adapters, **fields)) < 1e-3


@pytest.mark.parametrize(("kind", "fields"), FACTORED.items())
def test_where_it_does_count_the_docs_say_so(kind, fields):
    adapters = related(0, (2, 3, 4))
    scaled = changed(adapters, lambda i, f: Factors(f.A * 4.0 ** (i - 1), f.B / 4.0 ** (i - 1), f.scale))
    assert relative(delta(kind, scaled, **fields), delta(kind, adapters, **fields)) > 0.01


def test_a_scale_counts_as_if_it_were_in_the_factors():
    adapters = related(1)
    scaled = changed(adapters, lambda i, f: Factors(f.A / 2, f.B / 2, 4 * f.scale))
    for kind, fields in EVERY:
        assert relative(delta(kind, scaled, **fields), delta(kind, adapters, **fields)) < 1e-4, (kind, fields)
