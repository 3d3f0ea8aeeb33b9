"""Datasets: splits, columns and choices of good files; file and line of the first bad row."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from composition.errors import CompositionError
from composition.formats.validate import MemoryFile, validate_dataset


def test_datasets_pass_with_their_facts():
    row = json.dumps({"prompt": "a", "completion": "b", "task": "x"}).encode()
    choice = json.dumps({"prompt": "a", "completion": "b", "choices": ["b", "c"]}, ensure_ascii=False).encode()
    files = {
        "train.jsonl": row + b"\n" + row,
        "data/test.jsonl": choice + b"\r\n" + choice + b"\n\n\n",
        "README.md": b"# Card",
        "LICENSE": b"MIT",
    }
    facts = validate_dataset({name: MemoryFile(data) for name, data in files.items()})
    assert facts.splits == {"test": 2, "train": 2}
    assert facts.columns == ["prompt", "completion", "choices", "task"]
    assert facts.has_choices
    assert facts.bytes == len(files["train.jsonl"]) + len(files["data/test.jsonl"])


def test_a_bad_row_is_named_by_file_and_line():
    good = b'{"prompt": "a", "completion": "b"}\n'
    with pytest.raises(CompositionError) as caught:
        validate_dataset({"test.jsonl": MemoryFile(good * 6 + b'{"prompt": "a"}\n' + good)})
    assert (caught.value.facts["file"], caught.value.facts["line"]) == ("test.jsonl", 7)
    assert "test.jsonl, line 7 has completion missing" in caught.value.message


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_as_rows_never_crash(data):
    try:
        validate_dataset({"test.jsonl": MemoryFile(data)})
    except CompositionError as error:
        assert error.code.partition(".")[0] in ("dataset", "content")


def row(**columns) -> bytes:
    return json.dumps(columns).encode() + b"\n"


def test_texts_and_questions_are_datasets_too():
    asked = row(context="c", question="q", answer="a")
    files = {"train.jsonl": row(text="One.", source="x") + row(text="Two."), "asked.jsonl": asked}
    facts = validate_dataset({name: MemoryFile(data) for name, data in files.items()})
    assert facts.kinds == {"train": "text", "asked": "questions"}
    assert facts.splits == {"train": 2, "asked": 1}
    assert not facts.has_choices


@pytest.mark.parametrize(
    ("data", "say"),
    [
        (row(text=""), "text ''"),
        (row(text=3), "text 3"),
        (row(context="c", question="q"), "answer missing"),
        (row(text="a") + row(prompt="p", completion="c"), "began with text"),
        (row(prompt="p", completion="c") + row(text="a"), "began with completion"),
        (row(other="a"), "prompt missing"),
    ],
)
def test_rows_of_a_file_are_alike_and_whole(data, say):
    with pytest.raises(CompositionError, match=say):
        validate_dataset({"train.jsonl": MemoryFile(data)})
