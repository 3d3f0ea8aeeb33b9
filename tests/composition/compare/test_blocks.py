"""Grams of pairs: the dense products, kept as bytes that know when they are damaged, put together for all adapters."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from composition.errors import CompositionError
from composition.merging.compare.blocks import PairGrams, pair_grams, pooled
from composition.weights import Factors, LoraWeights
from tests.composition.random_adapters import random_adapter


def folded(adapter: LoraWeights, module: str) -> tuple[np.ndarray, np.ndarray]:
    """(A [r, in], B [out, r]) in float64, √|scale| on both and its sign on B, by hand."""
    f = adapter[module]
    root = abs(f.scale) ** 0.5
    return f.A.double().numpy() * root, f.B.double().numpy() * root * np.sign(f.scale)


def adapters() -> list[LoraWeights]:
    """Unlike ranks by module and adapter, a negative scale, a module that one lacks, half precision."""
    one = random_adapter(1, ranks={"q": 3, "v": 2, "o": 3}, scale=0.5)
    two = random_adapter(2, ranks={"q": 2, "v": 2}, scale=-2.0)
    three = random_adapter(3, ranks={"q": 4, "o": 1, "v": 2}, dtype=torch.bfloat16)
    return [one, two, three]


def modules_of(grams: PairGrams) -> dict[str, np.ndarray]:
    return {module: run.blocks[m] for run in grams.runs.values() for m, module in enumerate(run.modules)}


def test_blocks_are_the_dense_products_of_folded_units():
    given = adapters()
    found = pair_grams(given)
    assert set(found) == {(0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2)}
    for (i, j), grams in found.items():
        blocks = modules_of(grams)
        assert set(blocks) == set(given[i]) & set(given[j])
        for module, (gram_a, gram_b) in blocks.items():
            (a_i, b_i), (a_j, b_j) = folded(given[i], module), folded(given[j], module)
            np.testing.assert_allclose(gram_a, a_i @ a_j.T, rtol=1e-5, atol=1e-5)
            np.testing.assert_allclose(gram_b, b_i.T @ b_j, rtol=1e-5, atol=1e-5)


def test_only_wanted_pairs_are_made_and_they_are_the_same():
    given = adapters()
    whole, some = pair_grams(given), pair_grams(given, [(0, 2), (1, 1)])
    assert set(some) == {(0, 2), (1, 1)}
    for pair, grams in some.items():
        for module, block in modules_of(grams).items():
            np.testing.assert_allclose(block, modules_of(whole[pair])[module], rtol=1e-6, atol=1e-7)


def test_bytes_come_back_and_a_turned_pair_is_the_other_order():
    for grams in pair_grams(adapters()).values():
        again = PairGrams.from_bytes(grams.to_bytes())
        assert again is not None and again.to_bytes() == grams.to_bytes()
        for module, block in modules_of(grams).items():
            np.testing.assert_array_equal(modules_of(again)[module], block)
            np.testing.assert_array_equal(modules_of(again.turned())[module], block.swapaxes(1, 2))
        assert again.turned().turned().to_bytes() == grams.to_bytes()


@settings(max_examples=60, deadline=None)
@given(place=st.integers(0, 10**6), bit=st.integers(0, 7), cut=st.booleans())
def test_damaged_bytes_are_known(place, bit, cut):
    data = pair_grams(adapters(), [(0, 1)])[0, 1].to_bytes()
    place %= len(data)
    harmed = data[:place] if cut else data[:place] + bytes([data[place] ^ (1 << bit)]) + data[place + 1 :]
    assert PairGrams.from_bytes(harmed) is None


def test_pooled_blocks_are_the_grams_of_all_units():
    given = adapters()
    found = pair_grams(given)
    for module, ranks in (("q", (3, 2, 4)), ("v", (2, 2, 2)), ("o", (3, 0, 1))):
        group = pooled(found, [module], ranks)
        parts = [folded(adapter, module) for adapter in given if module in adapter]
        A, B = np.concatenate([a for a, _ in parts]), np.concatenate([b for _, b in parts], 1)
        np.testing.assert_allclose(group.A[0].numpy(), A @ A.T, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(group.B[0].numpy(), B.T @ B, rtol=1e-5, atol=1e-5)


def test_a_value_that_is_not_finite_is_refused_by_the_adapters_name():
    bad = LoraWeights({"q": Factors(torch.full((2, 24), torch.nan), torch.ones(20, 2), 1.0)}, name="broken")
    with pytest.raises(CompositionError, match="broken") as refused:
        pair_grams([random_adapter(1, ranks={"q": 2}), bad])
    assert refused.value.code == "weights.nonfinite"
