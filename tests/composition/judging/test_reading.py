"""Which rows are judged on and which are read: never both, and never the split that later figures are reported on."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from composition.errors import RecipeError
from composition.judging.candidates import planned
from composition.judging.reading import MOST_SHARE, Reading, divide
from composition.recipes import MergeSearchRecipe
from tests.composition.random_adapters import random_adapter

PAIR = [(f"me/a{seed}", random_adapter(seed, ranks=4).facts()) for seed in (1, 2)]


def facts(**splits):
    """What is known of a dataset; a split's rows, or (rows, kind)."""
    pairs = {name: told if isinstance(told, tuple) else (told, "completion") for name, told in splits.items()}
    return {
        "splits": {name: rows for name, (rows, _) in pairs.items()},
        "kinds": {name: kind for name, (_, kind) in pairs.items()},
    }


def divided(*datasets, count=2, **fields) -> Reading:
    return divide(MergeSearchRecipe(**fields), count, datasets)


def test_a_split_that_is_not_judged_on_is_read_whole():
    found = divided(facts(validation=40, train=200, test=99), facts(validation=30, train=100))
    assert found.judged == (("validation", 40), ("validation", 30))
    assert (found.text.places, found.text.split, found.text.rows) == ((0, 1), "train", 48)
    assert found.left.judged == found.judged


def test_where_there_is_one_split_a_share_of_it_is_read_and_the_rest_judged_on():
    found = divided(facts(train=40), facts(train=30))
    assert (found.text.split, found.text.rows) == ("train", 30 // MOST_SHARE)
    assert found.left.judged == (("train", 30), ("train", 20))


def test_test_is_read_only_where_every_task_is_judged_on_it():
    assert divided(facts(test=40), facts(test=30)).text.split == "test"
    found = divided(facts(test=40, validation=40), facts(test=40))
    assert found.text is None and "no split in common to read" in found.why


@pytest.mark.parametrize(
    ("datasets", "fields", "why"),
    [
        ([facts(train=50)], {}, "1 datasets for 2 adapters"),
        ([facts(train=50)] * 3, {}, "3 datasets for 2 adapters"),
        ([facts(train=50)] * 2, {"text_rows": 0}, "no rows of text"),
        ([facts(train=50), facts(train=6)], {}, "with 6 rows it is too short"),
        ([facts(train=50)] * 2 + [facts(a=5), facts(b=5)], {"text_sets": 2}, "no split of prompts or texts"),
    ],
)
def test_why_there_is_no_text(datasets, fields, why):
    found = divided(*datasets, **fields)
    assert found.text is None and why in found.why
    assert len(found.judged) == len(datasets) - fields.get("text_sets", 0)


def test_datasets_that_are_given_for_it_are_read_and_not_judged_on():
    found = divided(facts(validation=40), facts(train=(9, "text")), facts(train=8, test=9), text_sets=2)
    assert found.judged == (("validation", 40),)
    assert (found.text.places, found.text.split, found.text.rows) == ((1, 2), "train", 48)
    assert found.left == found


@pytest.mark.parametrize(("given", "there"), [(1, 4), (3, 4), (2, 2), (2, 1)])
def test_datasets_of_text_are_one_for_each_adapter_after_those_to_measure_on(given, there):
    with pytest.raises(RecipeError, match="Datasets of text"):
        divided(*[facts(train=50)] * there, text_sets=given)


def test_rows_are_held_back_only_where_a_candidate_reads_them():
    one_split = [facts(train=60), facts(train=60)]
    assert planned(MergeSearchRecipe(), PAIR, one_split)[1].judged == (("train", 40), ("train", 40))
    for fields in ({"methods": "svd"}, {"text_rows": 0}):
        reading = planned(MergeSearchRecipe(**fields), PAIR, one_split)[1]
        assert (reading.judged, reading.text) == ((("train", 60), ("train", 60)), None)


SPLITS = st.dictionaries(st.sampled_from(["train", "validation", "test", "extra"]), st.integers(1, 90), min_size=1)


@given(st.lists(SPLITS, min_size=2, max_size=2), st.integers(1, 60))
def test_no_split_is_read_and_judged_whole_and_enough_is_left(splits, rows):
    found = divided(*[facts(**one) for one in splits], text_rows=rows)
    for (split, left), (_, there), dataset in zip(found.left.judged, found.judged, splits, strict=True):
        assert split in dataset and there == dataset[split] and left > 0
        if found.text and found.text.split == split:
            assert 4 <= found.text.rows <= there / MOST_SHARE and left == there - found.text.rows
    if found.text and found.text.split == "test":
        assert {split for split, _ in found.judged} == {"test"}
