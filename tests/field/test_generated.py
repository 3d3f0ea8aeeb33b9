"""The door's verdict is peft's, for generated configs and key sets on a pico base of every architecture.

Accepted means that peft fills a factor with every tensor; and the ΔW that our reader gives is the one peft applies.
"""

import tempfile
from collections import Counter
from functools import cache
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings

from composition.errors import CompositionError
from composition.formats.validate import local_files, validate_adapter
from composition.running.attaching import detach
from tests.field.generated import BASES, adapters, write
from tests.field.pico_bases import live, model, shapes

pytestmark = pytest.mark.filterwarnings("ignore")

REFUSED_BY_US = ("adapter.target_missing", "adapter.target_unexpected")


@cache
def base_model(base):
    return model(base)


def peft_says(base, folder):
    """(whether peft fills a place with every tensor and leaves none at random, its model or None, why)."""
    one = base_model(base)
    before = {name: tensor.clone() for name, tensor in one.state_dict().items()}
    try:
        attached, dead = live(one, folder)
    except (ValueError, RuntimeError, KeyError, TypeError, AttributeError) as error:
        verdict, deltas, why = False, {}, f"{type(error).__name__}: {error}"
    else:
        verdict, deltas, why = not dead, changes(attached), f"dead: {dead[:3]}"
    detach(one)
    one.load_state_dict(before)
    return verdict, deltas, why


def changes(attached):
    """ΔW of every adapted matrix, as peft applies it."""
    found = {}
    for name, module in attached.base_model.model.named_modules():
        if hasattr(module, "get_delta_weight") and type(module).__name__ in ("Linear", "Conv1D"):
            delta = module.get_delta_weight("default").detach()
            found[name] = delta.T if type(module.get_base_layer()).__name__ == "Conv1D" else delta
    return found


def check(drawn, seen):
    base, fields, tensors = drawn
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder), fields, tensors)
        fills, deltas, why = peft_says(base, path)
        try:
            facts = validate_adapter(local_files(path), base_shapes=shapes(base))
        except CompositionError as refusal:
            seen[refusal.code] += 1
            assert not fills or ours_alone(refusal, fields), (refusal.message, fields, list(tensors)[:4])
            return
        seen["accepted"] += 1
        warned = any("resized" in text or "Load the base with AutoModel" in text for text in facts.warnings)
        assert fills or warned, (why, fields, list(tensors)[:4], facts.warnings)
        for name, fact in facts.modules.items():
            if name in deltas and not warned:
                expected = float(torch.linalg.matrix_norm(deltas[name]))
                assert fact.norm is None or abs(fact.norm - expected) <= 1e-4 * max(expected, 1)


def ours_alone(refusal, fields):
    """What the door refuses although peft would load it: a target that was not trained, and half a pair."""
    return refusal.code in ("adapter.target_missing", "adapter.unpaired")


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None)
@given(adapters())
def test_the_door_says_what_peft_does(drawn):
    check(drawn, Counter())


@pytest.mark.slow
def test_two_hundred_more_and_both_verdicts_are_met():
    seen = Counter()

    @settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(adapters())
    def run(drawn):
        check(drawn, seen)

    run()
    assert seen["accepted"] >= 30 and sum(seen.values()) - seen["accepted"] >= 30, seen
    print(seen)


def test_every_architecture_of_the_field_cases_is_drawn():
    from tests.field.pico_bases import HERE, config

    drawn = {config(base)["model_type"] for base in BASES}
    there = set()
    for path in sorted((HERE / "bases").glob("*.json")):
        if path.stem not in ("lfs", "bom", "defaults"):
            there.add(config(path.stem)["model_type"])
    assert there <= drawn
