"""Cards are strangers' text: their front matter is read for a few plain words and trusted for nothing."""

import time

import pytest

from hub.errors import Invalid
from hub.services.content.cards import Card, read_card


def card(front: str, body: str = "") -> Card:
    return read_card(f"---\n{front}\n---\n{body}".encode())


def test_front_matter_and_body_come_apart():
    found = card("license: MIT\ntags:\n- a\n- b b", "# Title\n\nFirst words\nof it.\n\nMore.\n")
    assert (found.license, found.tags, found.body[:7]) == ("mit", ["a", "b b"], "# Title")
    assert (found.description, found.summary) == ("", "First words of it.")


@pytest.mark.parametrize("text", ["", "# Title\n", "--- no\n", "text\n---\nlicense: mit\n---\n", "---\nlicense: mit\n"])
def test_without_front_matter_all_is_body(text):
    assert read_card(text.encode()) == Card(body=text, summary=read_card(text.encode()).summary)


def test_windows_line_ends_and_a_byte_order_mark_are_read():
    assert read_card("\ufeff---\r\nlicense: mit\r\n---\r\nHi\r\n".encode()).license == "mit"


@pytest.mark.parametrize(
    ("value", "license"),
    [("apache-2.0", "apache-2.0"), ("[mit, gpl]", "mit"), ("<script>", ""), ("{a: b}", ""), ("1", ""), ("null", "")],
)
def test_a_licence_is_one_word(value, license):
    assert card(f"license: {value}").license == license


def test_tags_are_at_most_twenty_different_sane_words():
    assert card("tags: one").tags == ["one"]
    assert card("tags: [a, A, ' b ', <b>, 7, null, [x], '" + "y" * 61 + "']").tags == ["a", "b"]
    assert card("tags: [" + ", ".join(f"t{n}" for n in range(50)) + "]").tags == [f"t{n}" for n in range(20)]
    assert card("tags: {a: b}").tags == []


def test_a_description_is_one_line_of_at_most_300():
    assert card('description: "two\\nlines\\u0000"').description == "two lines"
    assert len(card("description: " + "x" * 900).description) == 300


def test_the_summary_skips_what_is_no_prose():
    body = "# T\n\n![x](y)\n\n```\ncode\n```\n\n- list\n\nAt last.\n"
    assert read_card(body.encode()).summary == "At last."


@pytest.mark.parametrize(
    ("front", "says"),
    [
        ("a: [", "line"),
        ("a: b: c", "line 2"),
        ("- a", "not a mapping"),
        ("a: !!python/object/apply:os.system ['true']", "constructor"),
        ("a: &x 1\nb: *x", "aliases"),
        ("a: " + "[" * 3000 + "]" * 3000, "nests"),
        ("a: 2001-99-99", "impossible"),
        ("a: " + "x" * 70_000, "64,000"),
    ],
)
def test_front_matter_that_can_not_be_read_is_refused_and_says_why(front, says):
    with pytest.raises(Invalid, match=says) as refusal:
        card(front)
    assert refusal.value.code == "card.front_matter"


def test_an_expanding_front_matter_costs_nothing():
    """A billion laughs: nine levels of ten references each."""
    lines = ["a0: &a0 [x]"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    began = time.process_time()
    with pytest.raises(Invalid):
        card("\n".join(lines))
    assert time.process_time() - began < 1


@pytest.mark.parametrize(
    ("prose", "plain"),
    [
        ("For `org/base`, by **LEGO**.", "For org/base, by LEGO."),
        ("See [the paper](https://x.org/a_b) and ![a plot](p.png).", "See the paper and a plot."),
        ("An _odd_ *one*: a_b, 2 * 3, q_proj.", "An odd one: a_b, 2 * 3, q_proj."),
        ("[" * 5000, None),
    ],
)
def test_the_summary_is_free_of_markup(prose, plain):
    assert plain is None or read_card(f"# T\n\n{prose}\n".encode()).summary == plain
    read_card(prose.encode())


def test_what_is_no_text_or_too_much_is_refused():
    with pytest.raises(Invalid, match="UTF-8"):
        read_card(b"\xff\xfe")
    with pytest.raises(Invalid, match="shorter"):
        read_card(b"x" * 1_000_001)
