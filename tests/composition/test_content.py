"""What may be uploaded: real files pass, and a file's kind is decided by its bytes as well as its name."""

import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from composition.errors import CompositionError
from composition.formats.content import check_path, check_paths, extension, sniff
from tests.uploads import adapter, zip_bytes

WEIGHTS = "adapter_model.safetensors"


@pytest.mark.parametrize(
    "name",
    [
        "README.md",
        "adapter_config.json",
        "tokenizer.model",
        "additional_chat_templates/tool use.jinja",
        "images/loss (1).png",
        "日本語.txt",
        "caf\u00e9.md",
        "a..b.txt",
        ".gitattributes",
        "n" * 251 + ".txt",
    ],
)
def test_ordinary_names_pass(name):
    check_path(name)


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=60))
def test_any_text_is_a_name_or_a_refusal(name):
    try:
        check_path(name)
    except CompositionError as error:
        assert error.code.startswith("path.")
        assert error.message.isprintable()
    else:
        assert not any(ord(character) < 32 or ord(character) == 127 for character in name)
        assert ".." not in name.split("/")
        assert not name.startswith("/")


def test_names_that_are_one_file_on_a_mac():
    with pytest.raises(CompositionError) as caught:
        check_paths(["Stra\u00dfe.txt", "STRASSE.txt"])
    assert caught.value.code == "path.collision"
    assert caught.value.facts["files"] == ["Stra\u00dfe.txt", "STRASSE.txt"]
    check_paths(["a/x.txt", "b/x.txt", "a/y.txt"])


@pytest.mark.parametrize(
    ("path", "first"),
    [
        (WEIGHTS, adapter()[WEIGHTS][:1024]),
        ("README.md", b"<p align='center'>a card may begin with HTML</p>"),
        ("README.md", b"<!doctype html>cards are cleaned before they are shown"),
        ("LICENSE", b"Apache"),
        ("tokenizer.model", b"\n\x0e\n\x05<unk>\x15"),
        ("tokenizer.json", b"{}"),
        ("loss.png", b"\x89PNG\r\n\x1a\n...."),
        ("photo.JPG", b"\xff\xd8\xff\xe0"),
        ("base.gguf", b"GGUF\x03\x00\x00\x00"),
        ("empty.txt", b""),
    ],
)
def test_ordinary_files_pass(path, first):
    sniff(path, first)


@pytest.mark.parametrize("low", [0x80, 0x1F, 0x4D])
def test_a_header_whose_length_looks_like_magic_is_still_a_header(low):
    """The first two bytes of a safetensors file are its header's length: any pair may stand there."""
    for second in range(256):
        sniff(WEIGHTS, bytes([low, second, 0, 0, 0, 0, 0, 0]) + b'{"a"')


def test_a_pickle_is_a_pickle_under_any_name():
    for protocol in (2, 3, 4, 5):
        for name in (WEIGHTS, "adapter_config.json", "README.md", "x.png"):
            with pytest.raises(CompositionError) as caught:
                sniff(name, pickle.dumps({"w": [1]}, protocol=protocol))
            assert caught.value.code == "content.pickle"


def test_what_a_training_run_leaves_is_told_to_be_left_out():
    for name in ("training_args.bin", "optimizer.pt", "checkpoint-5/rng_state_0.pth", "scheduler.pt"):
        with pytest.raises(CompositionError, match="Leave it out"):
            sniff(name, zip_bytes())


@pytest.mark.parametrize(
    ("path", "expected"), [("a.TXT", ".txt"), ("a/b.tar.gz", ".gz"), (".gitignore", ""), ("x", ""), ("a.b/c", "")]
)
def test_extension(path, expected):
    assert extension(path) == expected
