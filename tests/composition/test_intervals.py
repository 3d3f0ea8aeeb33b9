"""Intervals against Newcombe's published example, a bootstrap, and their promise to cover."""

import numpy as np
import pytest

from composition.intervals import difference, paired_difference, wilson


def test_wilson_solves_its_own_equation():
    """A bound p satisfies |p̂ − p| = z √(p(1 − p)/n)."""
    found = wilson(81, 263)
    for bound in (found.low, found.high):
        assert abs(found.value - bound) == pytest.approx(1.959964 * np.sqrt(bound * (1 - bound) / 263), rel=1e-6)
    # Newcombe 1998 (857), table I: 81 of 263.
    assert (found.low, found.high) == (pytest.approx(0.2553, abs=5e-5), pytest.approx(0.3662, abs=5e-5))


@pytest.mark.parametrize(("hits", "low", "high"), [(0, 0.0, 0.2775), (10, 0.7225, 1.0)])
def test_wilson_at_the_edges(hits, low, high):
    found = wilson(hits, 10)
    assert (found.low, found.high) == (pytest.approx(low, abs=1e-4), pytest.approx(high, abs=1e-4))


def test_a_difference_of_independent_shares_is_the_published_one():
    """Newcombe 1998 (873), table II, method 10: 56 of 70 against 48 of 80."""
    found = difference(56, 70, 48, 80)
    assert found.value == pytest.approx(0.2)
    assert (found.low, found.high) == (pytest.approx(0.0524, abs=5e-5), pytest.approx(0.3339, abs=5e-5))


def rows(both, only, other_only, neither):
    one = [1] * (both + only) + [0] * (other_only + neither)
    return one, [1] * both + [0] * only + [1] * other_only + [0] * neither


@pytest.mark.parametrize("table", [(250, 30, 12, 108), (20, 200, 150, 30), (390, 2, 6, 2)], ids=str)
def test_a_paired_difference_is_near_the_bootstrap(table):
    one, other = map(np.array, rows(*table))
    rng = np.random.default_rng(0)
    drawn = rng.integers(0, len(one), (20_000, len(one)))
    low, high = np.quantile((one - other)[drawn].mean(1), [0.025, 0.975])
    found = paired_difference(one, other)
    assert found.value == pytest.approx((one - other).mean())
    assert (found.low, found.high) == (pytest.approx(low, abs=0.008), pytest.approx(high, abs=0.008))


def test_the_paired_interval_covers_the_truth_as_often_as_it_says():
    """Two systems right on 80 and 70 % of 60 rows, agreeing more often than by chance."""
    rng, inside = np.random.default_rng(1), 0
    for _ in range(2000):
        easy = rng.random(60)
        one, other = easy < 0.8, np.where(rng.random(60) < 0.8, easy, rng.random(60)) < 0.7
        found = paired_difference(one.astype(int), other.astype(int))
        inside += found.low <= 0.1 <= found.high
    assert 0.93 <= inside / 2000 <= 0.985


def test_pairing_narrows_where_both_agree():
    one, other = rows(250, 30, 12, 108)
    paired, apart = paired_difference(one, other), difference(sum(one), 400, sum(other), 400)
    assert paired.value == pytest.approx(apart.value)
    assert paired.high - paired.low < 0.6 * (apart.high - apart.low)


@pytest.mark.parametrize("table", [(5, 0, 0, 0), (0, 0, 0, 5), (0, 5, 0, 0), (1, 0, 0, 0)], ids=str)
def test_edges_stay_within_bounds(table):
    found = paired_difference(*rows(*table))
    assert -1 <= found.low <= found.value <= found.high <= 1


def test_other_rows_are_refused():
    with pytest.raises(ValueError, match="same rows"):
        paired_difference([1, 0], [1])
