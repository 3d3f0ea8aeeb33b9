"""Rules on single numbers, against plain loops written from the papers and against PEFT."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from peft.utils import merge_utils

from composition.merging import elements

NUMBERS = st.lists(st.integers(-3, 3), min_size=1, max_size=30)


@given(NUMBERS, st.integers(0, 32))
def test_largest_keeps_exactly_k_and_the_first_of_equals(values: list[int], k: int) -> None:
    mask = elements.largest(torch.tensor(values, dtype=torch.float32).abs(), k).tolist()
    by_size = sorted(range(len(values)), key=lambda i: (-abs(values[i]), i))
    assert [i for i, kept in enumerate(mask) if kept] == sorted(by_size[:k])


@given(st.lists(st.tuples(*[st.integers(-9, 9)] * 7), min_size=2, max_size=5), st.sampled_from([0.2, 0.5, 0.99, 1.0]))
def test_ties_is_trim_elect_and_the_mean_of_those_that_agree(rows: list[tuple[int, ...]], density: float) -> None:
    n, d = len(rows), 7
    keep = max(1, int(density * d))
    trimmed = [[0.0] * d for _ in rows]
    for i, row in enumerate(rows):
        for j in sorted(range(d), key=lambda j: (-abs(row[j]), j))[:keep]:
            trimmed[i][j] = float(row[j])
    expected = []
    for j in range(d):
        sign = 1 if sum(trimmed[i][j] for i in range(n)) >= 0 else -1
        agreeing = [trimmed[i][j] for i in range(n) if trimmed[i][j] * sign > 0]
        expected.append(sum(agreeing) / len(agreeing) if agreeing else 0.0)
    got = elements.ties(torch.tensor(rows, dtype=torch.float64), density)
    torch.testing.assert_close(got, torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize("by", ["mass", "count"])
def test_ties_is_pefts(by: str) -> None:
    updates = torch.randn(4, 30, 17, generator=torch.Generator().manual_seed(0))
    method = {"mass": "total", "count": "frequency"}[by]
    expected = merge_utils.ties(list(updates), torch.ones(4), 0.3, method)  # type: ignore[arg-type]
    torch.testing.assert_close(elements.ties(updates, 0.3, by=by), expected)
    equal = elements.ties(updates, 0.3, (0.25,) * 4, by=by)
    torch.testing.assert_close(equal, expected, msg="equal weights are those of a plain mean")


def test_a_negative_weight_votes_against() -> None:
    updates = torch.tensor([[2.0, 1.0], [2.0, -3.0]], dtype=torch.float64)
    assert elements.ties(updates, 1.0, (1.0, -2.0)).tolist() == [-2.0, (1.0 + 6.0) / 3]


def test_dare_keeps_the_mean_and_follows_its_seed() -> None:
    updates = torch.ones(2, 400, 400)
    made = elements.dare(updates, 0.3, [elements.generator_of(7, "q", i) for i in range(2)])
    again = elements.dare(updates, 0.3, [elements.generator_of(7, "q", i) for i in range(2)])
    assert torch.equal(made, again)
    assert not torch.equal(made[0], made[1])
    assert made.unique().tolist() == [0.0, pytest.approx(1 / 0.3)]
    assert abs(float(made.mean()) - 1) < 5 * (0.7 / 0.3 / updates.numel()) ** 0.5
    kept = elements.dare(updates, 0.3, [elements.generator_of(7, "q", i) for i in range(2)], rescale=False)
    assert torch.equal(kept, (made > 0).float())


def test_della_keeps_large_numbers_more_often() -> None:
    row = torch.tensor([3.0, -1.0, 0.0, -4.0, 2.0])
    chances = elements.della_chances(row[None], 0.5, 0.2)[0]
    torch.testing.assert_close(chances, torch.tensor([0.6, 0.4, 0.3, 0.7, 0.5]))
    updates = row.expand(1, 20000, 5)
    made = elements.della(updates, 0.5, 0.2, [elements.generator_of(0)])
    share = (made[0] != 0).float().mean(0)
    expected = torch.where(row == 0, 0.0, chances)
    assert float((share - expected).abs().max()) < 5 * (0.25 / 20000) ** 0.5
    torch.testing.assert_close(made[0].mean(0), row, atol=0.15, rtol=0)
