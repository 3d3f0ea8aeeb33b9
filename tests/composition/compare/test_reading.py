"""The sentences and the recommendation, from figures made up for each case."""

import copy
import subprocess
import sys

import pytest

from composition.merging.compare.selector import recommend
from composition.merging.compare.sentences import listed, sentences
from composition.registry import METHODS

NAMES = ["dates", "mood", "orders"]


def figures(**changed) -> dict:
    """A report in which nothing is worth a word but the right angles and the rank."""
    apart = [[1.0, 0.01, 0.02], [0.01, 1.0, -0.03], [0.02, -0.03, 1.0]]
    report = {
        "rank": 4,
        "weights": None,
        "modules": 8,
        "judged": 8,
        "adapters": [{"name": name, "norm": 2.0, "rank": 4, "modules": 8} for name in NAMES],
        "pairs": {"cosines": apart, "row_overlap": apart, "column_overlap": apart, "aligned": apart},
        "spectrum": {"kept": [[1, 0.5], [4, 0.81], [8, 0.995], [12, 1.0]]},
        "clusters": {"inertia_ratio": 0.5, "seed_change": 0.1, "alone": 0.2},
        "methods": [],
    }
    return copy.deepcopy(report) | changed


def with_cosine(value: float) -> dict:
    report = figures()
    report["pairs"]["cosines"][0][1] = report["pairs"]["cosines"][1][0] = value
    return report


def of_one_start(aligned: float = 0.9) -> dict:
    report = figures()
    report["pairs"]["aligned"] = [[1.0 if i == j else aligned for j in range(3)] for i in range(3)]
    return report


def method(label: str, error_mean: float, error_sum: float = 0.5) -> dict:
    return {"kind": "svd", "label": label, "error_mean": error_mean, "error_sum": error_sum}


def test_right_angles_and_the_rank_are_always_told():
    assert sentences(figures()) == [
        "The updates stand nearly at right angles: the largest cosine is -0.03, of mood and orders.",
        "Rank 4 can hold 81% of the sum; 99% need rank 8.",
    ]


def test_methods_farther_from_the_mean_than_nothing_are_named_the_sum_itself_is_not():
    rows = [method("Near", 0.4), method("Far", 1.3), method("Farther", 2.04), method("Sum", 2.0, 0.0)]
    rows.append({"kind": "average", "label": "Left out", "reason": "…"})
    assert sentences(figures(methods=rows))[0] == (
        "Farther from the mean than no change at all is: Farther (2.04) and Far (1.30)."
    )


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0.41, "dates and mood point the same way (cosine 0.41)."),
        (-0.25, "dates and mood pull against each other (cosine -0.25)."),
    ],
)
def test_pairs_that_agree_or_conflict_are_named(value, said):
    assert said in sentences(with_cosine(value))


def test_unequal_sizes_clusters_and_a_sufficient_rank_have_sentences():
    report = figures(clusters={"inertia_ratio": 0.9, "seed_change": 0.9, "alone": 1.0}, rank=8)
    report["adapters"][2]["norm"] = 7.0
    said = sentences(report)
    assert "orders is 3.5 times as strong as dates; weights can even this out." in said
    assert "Every cluster of units was fed by one adapter alone: their units have nothing to share." in said
    assert said[-1] == "Rank 8 can hold 100% of the sum." or said[-1] == "Rank 8 can hold 99% of the sum."
    assert not any("strong" in text for text in sentences(report | {"weights": [1.0, 2.0, 1.0]}))
    unstable = figures(clusters={"inertia_ratio": 0.9, "seed_change": 0.9, "alone": 0.5})
    said = "There are no clear clusters of units: another k-means seed would move the result by 90%."
    assert said in sentences(unstable)


def test_nothing_known_says_nothing():
    empty = figures(spectrum={"kept": []}, clusters={"inertia_ratio": None, "seed_change": None, "alone": None})
    empty["pairs"]["cosines"] = [[None] * 3 for _ in range(3)]
    assert sentences(empty) == []


def test_long_lists_end_with_a_number():
    assert [listed(list("abcdef"[:n])) for n in (1, 2, 5)] == ["a", "a and b", "a, b, c, d and 1 more"]


@pytest.mark.parametrize("report", [figures(), with_cosine(0.6), with_cosine(-0.4), of_one_start()])
@pytest.mark.parametrize("text", [True, False])
def test_a_recommendation_is_a_method_with_a_reason(report, text):
    kind, reason = recommend(report, text_at_hand=text)
    assert kind in METHODS and METHODS[kind].verb == "merge" and reason.endswith(".")
    assert kind == ("regmean" if text and "regmean" in METHODS else "svd")


@pytest.mark.parametrize(
    ("report", "word"),
    [
        (figures(), "right angles"),
        (with_cosine(0.6), "in common"),
        (of_one_start(), "one random start"),
        (of_one_start(0.3), "right angles"),
    ],
)
def test_the_reason_follows_the_figures(report, word):
    assert word in recommend(report, text_at_hand=False)[1]


def test_reading_and_choosing_load_no_torch():
    package = "composition.merging.compare"
    code = f"import sys, {package}.selector, {package}.sentences; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def told_of_pairs(cosine: float = 0.0, **matrices) -> list[str]:
    """The sentences where a figure of the first two adapters is as given, and 80 (of angles) or 0.5 of all others."""
    report = with_cosine(cosine)
    usual = {"row_angle": 80.0, "row_chance": 75.0, "column_angle": 80.0, "column_chance": 75.0}
    usual |= {"sign_conflict": 0.5, "sign_error": 0.01}
    for name, value in usual.items():
        report["pairs"][name] = [[0.0 if i == j else value for j in range(3)] for i in range(3)]
        if name in matrices:
            report["pairs"][name][0][1] = report["pairs"][name][1][0] = matrices[name]
    return sentences(report)


def test_shared_directions_are_told_where_cosines_hide_them():
    said = "Though they don't point the same way, they {} some direction alike: dates and mood (20°, 75° by chance)."
    assert said.format("read") in told_of_pairs(row_angle=20.0)
    assert said.format("write") in told_of_pairs(column_angle=20.0)
    assert said.format("read") not in told_of_pairs(cosine=0.6, row_angle=20.0), "the cosine says it already"
    assert told_of_pairs(row_angle=60.0, sign_conflict=0.53) == told_of_pairs()


def test_signs_are_told_where_they_say_more_than_the_cosine():
    said = "Their numbers differ in sign by more or less than chance: dates and mood (62% ± 1.0%)."
    assert said in told_of_pairs(sign_conflict=0.62)
    assert said not in told_of_pairs(cosine=-0.4, sign_conflict=0.62)
    assert told_of_pairs(sign_conflict=0.62, sign_error=0.1) == told_of_pairs(sign_error=0.1), "a small sample"
