"""The k-th largest of numbers that stream by: against a sort, with ties, zeros and any number of blocks."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from composition.merging.elementwise.edges import Above, edges

VALUES = st.sampled_from([0.0, -0.0, 1.0, -1.0, 1.5, 1e-30, -1e-42, 3e38, 1.0000001, 0.9999999])


@settings(max_examples=60, deadline=None)
@given(
    numbers=st.lists(st.one_of(VALUES, st.floats(-10, 10, width=32)), min_size=1, max_size=60),
    share=st.floats(0.01, 1),
    blocks=st.integers(1, 5),
)
def test_it_is_the_sorted_place_and_keeps_the_first_of_equals(numbers, share, blocks):
    x = torch.tensor(numbers, dtype=torch.float32)
    k = max(1, round(share * len(x)))
    parts = x.tensor_split(blocks)

    def sweep():
        return ((p[None, None]) for p in parts)

    ((edge,),) = edges(sweep, [k], 1)
    falling = x.abs().sort(descending=True, stable=True)
    assert edge.value == float(falling.values[k - 1])
    above = Above([edge])
    mask = torch.cat([above.mask(block.abs())[0, 0] for block in sweep()])
    want = torch.zeros(len(x), dtype=torch.bool)
    want[falling.indices[:k]] = True
    assert torch.equal(mask, want)


def test_streams_and_counts_are_told_apart_and_a_fork_goes_on_alone():
    x = torch.tensor([[[3.0, 3.0, 3.0], [1.0, 3.0, 2.0]], [[0.0, -5.0, 5.0], [5.0, 5.0, -5.0]]])
    found = edges(lambda: [x[:, :1], x[:, 1:]], [1, 5], 2)
    assert [[(e.value, e.equal) for e in row] for row in found] == [[(3.0, 1), (2.0, 1)], [(5.0, 1), (5.0, 5)]]
    above = Above([row[1] for row in found])
    assert above.mask(x[:, :1].abs()).tolist() == [[[True, True, True]], [[False, True, True]]]
    fork = above.fork()
    for each in (fork, above):
        assert each.mask(x[:, 1:].abs()).tolist() == [[[False, True, True]], [[True, True, True]]]
    assert fork.mask(torch.tensor([[[2.0]], [[5.0]]])).tolist() == [[[False]], [[False]]]


@pytest.mark.parametrize("count", [1, 70_000])
def test_many_equal_numbers(count):
    x = torch.full((1, 1, count), 0.25)
    ((edge,),) = edges(lambda: [x, x], [count + 1], 1)
    assert (edge.value, edge.equal) == (0.25, count + 1)
