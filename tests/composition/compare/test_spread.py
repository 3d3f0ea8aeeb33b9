"""A few of many modules: every one once, all types soon, depth without a large gap, whatever order they come in."""

import itertools
import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from composition.merging.compare import judge
from composition.merging.compare.spread import spread

TYPES = ("mlp.down_proj", "mlp.gate_proj", "mlp.up_proj", "self_attn.k_proj", "self_attn.q_proj", "self_attn.v_proj")


def model(layers: int) -> list[str]:
    return [f"model.layers.{layer}.{kind}" for layer in range(layers) for kind in TYPES]


@pytest.mark.parametrize("layers", [1, 2, 12, 40])
def test_any_first_few_are_spread_over_types_and_depth(layers):
    modules = model(layers)
    found = spread(modules)
    assert sorted(found) == sorted(modules)
    shuffled = modules.copy()
    random.Random(0).shuffle(shuffled)
    assert spread(shuffled) == found
    for count in range(1, len(found) + 1):
        few = found[:count]
        by_type = [sum(name.endswith(kind) for name in few) for kind in TYPES]
        assert max(by_type) - min(by_type) <= 1
        depths = sorted({int(name.split(".")[2]) for name in few})
        edges = [-1, *depths, layers]
        gap = max(after - before for before, after in itertools.pairwise(edges))
        assert gap <= max(2, 1 + 3.2 * layers / (count + 1)), (count, depths)


def test_more_seconds_judge_more_modules_and_all_where_there_is_time():
    groups = {(16,) * 28: model(32)}
    few, more = (judge.chosen_modules(groups, 15, seconds) for seconds in (5.0, 50.0))
    assert len(few) == judge.LEAST
    assert few < more and len(more) == pytest.approx(28, abs=4)
    assert judge.chosen_modules(groups, 15, 3600.0) == set(model(32))


def test_thousands_of_one_type_are_spread_at_once():
    modules = [f"model.layers.{layer}.experts.{expert}.w1" for layer in range(96) for expert in range(128)]
    with limit_on_calls("<lambda>", 5 * len(modules)):
        found = spread(modules)
    assert sorted(found) == sorted(modules)


@contextmanager
def limit_on_calls(name: str, most: int) -> Iterator[None]:
    """Fail where functions of this name are called more often."""
    calls = 0

    def count(frame, event, _) -> None:
        nonlocal calls
        calls += event == "call" and frame.f_code.co_name == name
        if calls > most:
            raise AssertionError(f"{name} is called more than {most} times")

    sys.setprofile(count)
    try:
        yield
    finally:
        sys.setprofile(None)
