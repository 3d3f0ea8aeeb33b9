"""What a merge lost: the yardstick of each task, the interval over tasks, and the words for every outcome."""

import numpy as np
import pytest

from composition.intervals import Interval, mean_of, paired_difference
from composition.judging.figures import Figures, Task
from composition.judging.loss import judge


def arms(**hits):
    """arm=[hits of each task]; `input_0` is input-0."""
    return {name.replace("_", "-"): Figures([Task(one, [1.5], [1]) for one in given]) for name, given in hits.items()}


def digits(right: int, rows: int = 100) -> str:
    return "1" * right + "0" * (rows - right)


def test_each_task_has_the_input_that_is_best_there_as_its_yardstick():
    found = judge(
        arms(
            base=[digits(0), digits(10)],
            input_0=[digits(90), digits(5)],
            input_1=[digits(20), digits(60)],
            mean=[digits(40), digits(30)],
            merge=[digits(45), digits(60)],
        ),
        2,
    )
    assert [row["best"] for row in found["tasks"]] == ["input-0", "input-1"]
    assert [row["kept"]["merge"] for row in found["tasks"]] == [pytest.approx(0.5), 1.0]
    assert found["means"] == pytest.approx(
        {"base": 0.05, "input-0": 0.475, "input-1": 0.4, "mean": 0.35, "merge": 0.525}
    )
    assert found["less"]["value"] == pytest.approx((-0.45 + 0.0) / 2)
    assert found["state"] == "lossy"
    assert found["sentence"].startswith("It lost 22.5 points against the best input of each task. 52.5 % right against")
    assert "75.0 %, the mean of 2 tasks; the exact mean of the inputs 35.0 %; the base 5.0 %" in found["sentence"]
    assert found["sentence"].endswith("200 rows.")


@pytest.mark.parametrize(
    ("merged", "own", "state"),
    [(90, 50, "better"), (51, 50, "lossless"), (50, 50, "lossless"), (49, 50, "open"), (10, 50, "lossy")],
)
def test_the_state_is_read_off_the_interval(merged, own, state):
    found = judge(arms(base=[digits(0)], input_0=[digits(own)], merge=[digits(merged)]), 1)
    gap = paired_difference(list(map(int, digits(merged))), list(map(int, digits(own))))
    assert found["less"]["low"] == pytest.approx(gap.low)
    assert found["state"] == state
    assert ("It lost nothing" in found["sentence"]) is (state in ("better", "lossless"))


def test_without_a_share_nothing_is_judged():
    found = judge(arms(base=[""], input_0=[""], merge=[""]), 1)
    assert (found["state"], found["less"]) == ("unmeasured", None)
    assert found["tasks"][0]["nll"] == {"base": 1.5, "input-0": 1.5, "merge": 1.5}


def test_an_input_that_has_nothing_right_divides_nothing():
    found = judge(arms(base=[digits(0)], input_0=[digits(0)], merge=[digits(0)]), 1)
    assert found["tasks"][0]["kept"]["merge"] is None


def test_the_mean_of_one_is_itself_and_arms_add_by_squares():
    one = Interval(0.2, 0.1, 0.4, True)
    assert mean_of([one]) == one
    both = mean_of([one, Interval(-0.2, -0.5, 0.0, True)])
    assert both.value == pytest.approx(0.0)
    assert (both.low, both.high) == (
        pytest.approx(-np.hypot(0.1, 0.3) / 2),
        pytest.approx(np.hypot(0.2, 0.2) / 2),
    )


def test_the_interval_over_tasks_covers_the_truth():
    """Two tasks of 60 rows, true differences +0.2 and −0.1: 95 % of intervals hold their mean, within chance."""
    drawn, covered = np.random.default_rng(0), 0
    for _ in range(400):
        parts = []
        for mine, theirs in ((0.6, 0.4), (0.5, 0.6)):
            hits = [(drawn.random(60) < share).astype(int).tolist() for share in (mine, theirs)]
            parts.append(paired_difference(*hits))
        found = mean_of(parts)
        covered += found.low <= 0.05 <= found.high
    assert 0.92 <= covered / 400 <= 0.99
