"""The synthesis prompt and its reader: what is written is read back, and text that is not an item is recognised."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transfer.numbered_list import Frame, frame_of, list_prompt, read_items

LINES = st.text(st.characters(blacklist_categories=("Cc", "Cs", "Zl", "Zp"), blacklist_characters="\\"), min_size=1)
ITEMS = LINES.map(str.strip).filter(bool)
MANY = st.lists(st.lists(ITEMS, min_size=1, max_size=3).map("\n".join), min_size=1, max_size=6)


def test_the_prompt_is_the_papers():
    assert list_prompt(["not True is", "True or False is"], Frame("", "")) == (
        "Here are 4 examples:\n1. not True is\n2. True or False is\n3."
    )


@given(MANY, st.integers(1, 9))
def test_a_list_that_goes_on_is_read_back(items, first):
    text = " " + items[0].replace("\n", "\\n") + "\n"
    for number, item in enumerate(items[1:], first + 1):
        text += f"{number}. " + item.replace("\n", "\\n") + "\n"
    assert read_items(text, first, len(items)) == items
    assert read_items(text, first, 1) == items[:1]


@pytest.mark.parametrize(
    ("text", "most", "items"),
    [
        ("", 1, [None]),
        (" cut in the midd", 1, [None]),
        ("\n7. late\n", 1, [None]),
        (" whole\n", 3, ["whole"]),
        (" whole\n7) also\n", 3, ["whole", "also"]),
        (" whole\n8. wrong number\n9. more\n", 3, ["whole", None]),
        (" whole\nno number\n", 3, ["whole", None]),
        (" whole\n7. cut", 3, ["whole", None]),
        (" a\\nb\n", 1, ["a\nb"]),
    ],
)
def test_what_is_no_item_is_none(text, most, items):
    assert read_items(text, 6, most) == items


@given(st.text(), st.integers(1, 5))
def test_any_text_at_all_is_read(text, most):
    items = read_items(text, 6, most)
    assert 1 <= len(items) <= most
    assert all(item is None or (item.strip() and item == item.strip()) for item in items)


@given(st.lists(LINES, max_size=2), st.lists(ITEMS, min_size=1, max_size=5, unique=True), st.lists(LINES, max_size=2))
def test_the_frame_and_an_item_are_the_whole_input(before, middles, after):
    seeds = ["\n".join([*before, middle, *after]) for middle in middles]
    frame = frame_of(seeds)
    assert [frame.whole(frame.item(seed)) for seed in seeds] == seeds
    assert all(frame.item(seed).strip() for seed in seeds) or frame == Frame("", "")
    if len(middles) > 1 and all(line.strip() for line in before):
        assert frame.before.startswith("".join(line + "\n" for line in before))


def test_an_instruction_stands_once_above_the_list():
    seeds = ["Which desk?\nMy hat is late.\nDesk:", "Which desk?\nWhere is it?\nDesk:"]
    frame = frame_of(seeds)
    assert (frame.before, frame.after) == ("Which desk?\n", "\nDesk:")
    prompt = list_prompt([frame.item(seed) for seed in seeds], frame)
    assert prompt == "Which desk?\nHere are 4 examples:\n1. My hat is late.\n2. Where is it?\n3."
    assert frame_of(seeds[:1]) == Frame("", "")
