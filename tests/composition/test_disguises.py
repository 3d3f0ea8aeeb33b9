"""What people push under the name of weights is called what it is, with what to do; what is right stays untouched."""

import gzip
import json
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from composition.errors import CompositionError
from composition.formats.content import SNIFF_BYTES, sniff
from composition.formats.safetensors_header import parse_header
from composition.formats.sources import MemoryFile
from composition.formats.validate import validate_adapter
from tests.uploads import CONFIG, WEIGHTS, adapter, tar_bytes, zip_bytes

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"5" * 64 + b"\nsize 435852734\n"
S3 = b'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>'


def refusal(path, data, size=None):
    with pytest.raises(CompositionError) as caught:
        sniff(path, data[:SNIFF_BYTES], data[-100:], size=len(data) if size is None else size)
    assert caught.value.facts["file"] == path
    return caught.value


@pytest.mark.parametrize(
    "path", [WEIGHTS, "tokenizer.json", CONFIG, "spiece.model", "a/loss.png", "README.md", "notes.txt", "x.gguf"]
)
@pytest.mark.parametrize("pointer", [POINTER, POINTER.replace(b"\n", b"\r\n"), b"\xef\xbb\xbf" + POINTER])
def test_a_pointer_of_git_lfs_is_one_under_any_name(path, pointer):
    error = refusal(path, pointer)
    assert error.code == "content.lfs_pointer"
    assert "git lfs pull" in error.message
    assert "435,852,734 bytes" in error.message
    assert (error.facts["command"], error.facts["stands_for"]) == ("git lfs pull", 435852734)


def test_a_pointer_without_a_size_and_one_of_git_annex():
    assert refusal(WEIGHTS, POINTER.partition(b"size")[0]).code == "content.lfs_pointer"
    annex = refusal(WEIGHTS, b"/annex/objects/SHA256E-s435852734--5945dee.safetensors\n")
    assert "git annex get" in annex.message


def test_a_text_about_pointers_is_no_pointer():
    sniff("README.md", b"# Card\nversion https://git-lfs.github.com/spec/v1\n", size=50)
    sniff("notes.txt", POINTER + b"x" * 2000, size=2200)


@pytest.mark.parametrize(
    ("page", "title"),
    [
        (b"<!DOCTYPE html><html><head><title>Sign in</title></head></html>", "Sign in"),
        (b"\n\n<html lang=en><title> Not\n found </title>", "Not found"),
        (b"<!-- saved from url --><!doctype HTML><body>", None),
        (b'<?xml version="1.0"?><!DOCTYPE html PUBLIC "-//W3C"><html>', None),
    ],
)
def test_a_web_page_is_named_with_its_title(page, title):
    for path in (WEIGHTS, "tokenizer.json", "x.gguf", "loss.png", "tokenizer.model"):
        error = refusal(path, page)
        assert error.code == "content.web_page"
        assert "web page" in error.message
        assert title is None or repr(title) in error.message


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b'{"error":"Repository not found"}', "Repository not found"),
        (b'{"error": {"code": 401, "message": "Unauthorized"}}', "Unauthorized"),
        (b'{"message": "Bad credentials", "documentation_url": "https://x"}', "Bad credentials"),
        (b'{"detail": "Not found."}', "Not found."),
        (S3, "AccessDenied"),
        (b"<Error><Code>NoSuchKey</Code><Key>x</Key></Error>", "NoSuchKey"),
        (b"Entry not found", "Entry not found"),
        (b"Access to model org/name is restricted. You must be authenticated.", "restricted"),
    ],
)
def test_the_error_of_a_server_is_named_with_what_it_says(answer, said):
    for path in (WEIGHTS, "x.gguf"):
        error = refusal(path, answer)
        assert error.code == "content.answer"
        assert "server's answer" in error.message
        assert said in error.message


def test_a_json_file_that_is_only_an_error_is_an_answer_and_others_are_not():
    assert refusal("tokenizer.json", b'{"error":"Repository not found"}').code == "content.answer"
    assert refusal(CONFIG, b'{"detail": "Not found", "status": 404}').code == "content.answer"
    for ordinary in (b"{}", b'{"message": "hi"}', b'{"error": "<e>", "vocab": {}}', b'[{"error": 1}]'):
        sniff("tokenizer.json", ordinary, size=len(ordinary))


@pytest.mark.parametrize(
    ("data", "code", "word"),
    [
        (b"", "empty", "empty (0 bytes)"),
        (gzip.compress(b"x" * 100, mtime=0), "archive", "gzip"),
        (zip_bytes(), "zip", "ZIP"),
        (tar_bytes(), "archive", "tar"),
        (b"\x89PNG\r\n\x1a\n" + bytes(50), "mismatch", "PNG"),
        (b"%PDF-1.7\n%\xe2\xe3", "mismatch", "PDF"),
        (b"\x93NUMPY\x01\x00v\x00{'descr': '<f4'}", "mismatch", "NumPy"),
        (b"\x89HDF\r\n\x1a\n" + bytes(60), "mismatch", "HDF5"),
        (b"GGUF\x03\x00\x00\x00" + bytes(60), "mismatch", "GGUF"),
        (bytes(4096), "mismatch", "zero bytes"),
        (b"epoch,loss\n" * 200, "mismatch", "epoch,loss"),
        (json.dumps({"weights": [1.0] * 900}).encode(), "mismatch", "JSON text"),
    ],
)
def test_other_things_named_weights(data, code, word):
    error = refusal(WEIGHTS, data)
    assert error.code == f"content.{code}"
    assert word in error.message


def test_an_empty_file_is_refused_when_it_is_promised():
    """Before its first byte: the promise gives its size."""
    with pytest.raises(CompositionError, match="empty"):
        sniff(WEIGHTS, b"", size=0)


@given(st.binary(min_size=0, max_size=64), st.integers(2, 2**24))
def test_what_begins_as_safetensors_begin_is_never_unmasked(rest, length):
    sniff(WEIGHTS, struct.pack("<Q", length) + b'{"' + rest, size=2**30)


@given(st.integers(1, 200))
def test_a_cut_file_says_how_many_bytes_of_how_many(missing):
    whole = adapter()[WEIGHTS]
    start = parse_header(MemoryFile(whole).open(), size=len(whole)).data_start
    there = len(whole) - start
    files = {name: MemoryFile(data) for name, data in {**adapter(), WEIGHTS: whole[:-missing]}.items()}
    with pytest.raises(CompositionError) as caught:
        validate_adapter(files)
    assert caught.value.code == "safetensors.truncated"
    assert f"{there - missing:,} of {there:,} bytes" in caught.value.message
    assert (caught.value.facts["given"], caught.value.facts["expected"]) == (there - missing, there)


def test_a_file_cut_in_its_header_says_so():
    files = {**adapter(), WEIGHTS: struct.pack("<Q", 1000) + b'{"a":' + bytes(np.full(20, 32, np.uint8))}
    with pytest.raises(CompositionError, match="25 of 1,000 bytes of its header"):
        validate_adapter({name: MemoryFile(data) for name, data in files.items()})
