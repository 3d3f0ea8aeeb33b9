"""Successive halving and the front: against brute force, and the promises of budget, order and rank."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from composition.errors import RecipeError
from composition.judging.front import Point, front
from composition.judging.halving import cost_of, kept, schedule, survivors
from composition.recipes import MergeSearchRecipe

SIZES = st.lists(st.integers(1, 40), min_size=1, max_size=4)
TASKS = st.lists(st.integers(1, 300), min_size=1, max_size=4)


def walked(planned, sizes, tasks) -> int:
    """Rows read, one by one: each candidate of each rank, each round, each task, each row that is new."""
    read, left, before = 0, [list(range(count)) for count in sizes], 0
    for rows in planned:
        for members in left:
            for _ in members:
                for there in tasks:
                    read += len([row for row in range(before, rows) if row < there])
        left, before = [members[: kept(len(members))] for members in left], rows
    return read


@given(SIZES, TASKS, st.integers(4, 64), st.integers(64, 300))
def test_the_cost_is_what_a_walk_over_all_rows_reads(sizes, tasks, first, rows):
    planned = schedule(MergeSearchRecipe(first_rows=first, rows=rows), sizes, tasks)
    assert cost_of(planned, sizes, tasks) == walked(planned, sizes, tasks)
    assert planned == sorted(set(planned))
    assert planned[-1] == min(rows, max(tasks))
    assert all(after <= 2 * before for before, after in itertools.pairwise(planned))


@given(SIZES, TASKS, st.integers(1, 50_000))
def test_a_budget_is_kept_or_refused(sizes, tasks, budget):
    recipe = MergeSearchRecipe(budget=budget)
    try:
        planned = schedule(recipe, sizes, tasks)
    except RecipeError as refusal:
        assert refusal.facts["field"] == "budget"
        least = sum(sizes) * sum(min(4, rows) for rows in tasks)
        assert least > budget
    else:
        assert walked(planned, sizes, tasks) <= budget


@given(st.lists(st.tuples(st.integers(0, 3), st.floats(0, 1), st.floats(-5, 0)), min_size=1, max_size=30))
def test_the_better_half_of_each_rank_goes_on(drawn):
    scores = {number: row[1:] for number, row in enumerate(drawn)}
    groups = {number: row[0] for number, row in enumerate(drawn)}
    stay = survivors(scores, groups)
    assert stay == sorted(stay)
    for group in set(groups.values()):
        members = [key for key in scores if groups[key] == group]
        ahead = [key for key in stay if groups[key] == group]
        assert len(ahead) == min(len(members), max(2, -(-len(members) // 2)))
        gone = [scores[key] for key in members if key not in ahead]
        assert not gone or max(gone) <= min(scores[key] for key in ahead)


POINTS = st.lists(
    st.builds(Point, st.sampled_from([0.1, 0.5, 0.9]), st.sampled_from([2, 4, 8]), st.sampled_from([0.1, 3.0, 90.0])),
    min_size=1,
    max_size=20,
)


@given(POINTS)
def test_the_front_is_what_nothing_beats(points):
    found = front(points)
    assert any(found)
    for one, on_front in zip(points, found, strict=True):
        better = [
            other
            for other in points
            if other.quality >= one.quality and other.rank <= one.rank and other.seconds <= one.seconds and other != one
        ]
        assert on_front is not bool(better)


def test_times_of_one_machines_mood_are_alike():
    assert front([Point(0.5, 4, 1.0), Point(0.5, 4, 1.3), Point(0.5, 4, 0.01)]) == [True, True, True]


def test_more_first_rows_than_rows_are_refused():
    with pytest.raises(RecipeError, match="First rows: 64 is more than the 32"):
        MergeSearchRecipe(first_rows=64, rows=32)
