"""The search on figures that are known: it finds the best, goes on after a kill, and reads each row once."""

import itertools
import random

import pytest

from composition.intervals import paired_difference
from composition.judging.figures import Figures, Task
from composition.judging.search import InMemory, search
from composition.recipes import MergeSearchRecipe

RANKS = {"a": 4, "b": 4, "c": 4, "d": 4, "e": 16, "f": 16}
STRENGTH = {"a": 0.2, "b": 0.5, "c": 0.9, "d": 0.4, "e": 0.6, "f": 0.1, "input-0": 1.0, "input-1": 0.3, "base": 0.0}
TASKS = [64, 40]
RECIPE = MergeSearchRecipe(first_rows=8, rows=64)
BESIDE = ["base", "input-0", "input-1"]


class World:
    """Every arm's answers on every row, and what was asked for; `dies_at` ends the process there."""

    def __init__(self, dies_at: int | None = None) -> None:
        drawn = random.Random(1)
        self.hits = {
            arm: ["".join(str(int(drawn.random() < share)) for _ in range(rows)) for rows in TASKS]
            for arm, share in STRENGTH.items()
        }
        self.asked: list[tuple[str, int, int]] = []
        self.dies_at = dies_at

    def measure(self, arm: str, begin: int, end: int) -> Figures:
        if len(self.asked) == self.dies_at:
            raise KeyboardInterrupt
        self.asked.append((arm, begin, end))
        parts = [hits[begin:end] for hits in self.hits[arm]]
        return Figures([Task(part, [2.0] * len(part), [1] * len(part)) for part in parts], 1.0)


def run(world: World, kept=None) -> dict:
    return search(RANKS, TASKS, RECIPE, world.measure, beside=BESIDE, kept=kept)


def test_it_finds_the_best_and_says_how_far_the_others_are():
    world = World()
    found = run(world)
    assert (found["rounds"], found["best"]) == ([8, 16, 32, 64], "c")
    arms = found["arms"]
    assert arms["c"]["front"] and arms["c"]["less"]["value"] == 0
    assert [task["rows"] for task in arms["c"]["tasks"]] == TASKS
    # Both ranks are followed to the end: what the small one loses is known.
    ended = [arm for arm in RANKS if arms[arm]["rounds"] == 4]
    assert {RANKS[arm] for arm in ended} == {4, 16}
    for arm in ended:
        by_task = [
            paired_difference(list(map(int, mine)), list(map(int, theirs)))
            for mine, theirs in zip(world.hits["c"], world.hits[arm], strict=True)
        ]
        assert arms[arm]["less"]["value"] == pytest.approx(sum(one.value for one in by_task) / 2)
    own = sum(max(world.hits[arm][n].count("1") / TASKS[n] for arm in ("input-0", "input-1")) for n in (0, 1)) / 2
    assert found["own"] == pytest.approx(own)
    assert arms["c"]["kept"] == pytest.approx(arms["c"]["quality"] / own)


def test_every_row_is_read_once():
    world = World()
    run(world)
    for arm in STRENGTH:
        spans = sorted((begin, end) for name, begin, end in world.asked if name == arm)
        assert spans[0][0] == 0
        assert all(one[1] == other[0] for one, other in itertools.pairwise(spans))


@pytest.mark.parametrize("dies_at", range(0, 22, 3))
def test_a_search_that_was_killed_goes_on_to_the_same_end(dies_at):
    whole = run(World())
    kept, world = InMemory(), World(dies_at)
    try:
        run(world, kept)
    except KeyboardInterrupt:
        before = list(world.asked)
        world.dies_at = None
        again = run(world, kept)
        assert not set(before) & set(world.asked[len(before) :]), "nothing is measured twice"
    else:
        again = run(World(), kept)
    assert again == whole


def test_progress_rises_to_one():
    told = []
    search(RANKS, TASKS, RECIPE, World().measure, beside=BESIDE, progress=lambda done, said, **_: told.append(done))
    assert told == sorted(told) and told[-1] == pytest.approx(1.0)


def test_equal_shares_are_told_apart_by_likelihood():
    def measure(arm, begin, end):
        return Figures([Task("1" * (end - begin), [{"a": 3.0, "b": 1.0}[arm]] * (end - begin), [1] * (end - begin))])

    assert search({"a": 2, "b": 2}, [8], MergeSearchRecipe(first_rows=4, rows=8), measure)["best"] == "b"
