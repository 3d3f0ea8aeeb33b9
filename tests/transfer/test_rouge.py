"""ROUGE-L and near-duplicates against the textbook's table."""

from hypothesis import given
from hypothesis import strategies as st

from transfer.rouge import Kept, lcs, rouge_l, words

TEXTS = st.lists(st.sampled_from("abcd"), max_size=12)


def slow_lcs(a, b):
    table = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            table[i + 1][j + 1] = table[i][j] + 1 if x == y else max(table[i][j + 1], table[i + 1][j])
    return table[-1][-1]


@given(TEXTS, TEXTS)
def test_the_bit_parallel_lcs_is_the_tables(a, b):
    assert lcs(a, b) == slow_lcs(a, b)


@given(TEXTS, TEXTS)
def test_rouge_l_is_the_f_measure_of_precision_and_recall(a, b):
    common = slow_lcs(a, b)
    if not common:
        assert rouge_l(a, b) == float(not a and not b)
        return
    precision, recall = common / len(b), common / len(a)
    assert abs(rouge_l(a, b) - 2 * precision * recall / (precision + recall)) < 1e-12


@given(st.lists(st.lists(st.sampled_from(["red", "blue", "cat"]), min_size=1, max_size=6), max_size=8), TEXTS,
       st.sampled_from([0.0, 0.3, 0.7, 1.0]))  # fmt: skip
def test_the_index_finds_what_comparing_with_all_finds(kept, new, ceiling):
    old, text = [" ".join(row) for row in kept], " ".join(new) or "x"
    near = any(text == other or (ceiling < 1 and rouge_l(words(text), words(other)) > ceiling) for other in old)
    assert Kept(ceiling, old).has_like(text) == near


def test_case_and_points_are_no_difference_and_a_ceiling_of_one_leaves_equality():
    assert Kept(0.9, ["Send 3 red hats."]).has_like("send 3 red hats")
    assert not Kept(1.0, ["Send 3 red hats."]).has_like("send 3 red hats")
    assert Kept(1.0, ["Send 3 red hats."]).has_like(" Send 3 red hats. ")
    assert words("¿?") == ["¿?"]
