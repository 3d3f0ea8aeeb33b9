"""Revision ids and content digests: functions of the content and of nothing else."""

import json
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from composition.formats.sources import MemoryFile
from hub.errors import Invalid
from hub.services.content.manifest import Entry, canonical_json, changed, content_digest, revision_oid

DIGESTS = st.text("0123456789abcdef", min_size=64, max_size=64)
PATHS = st.text(string.ascii_letters + "/._-äß", min_size=1, max_size=20)
MANIFESTS = st.dictionaries(PATHS, st.builds(Entry, DIGESTS, st.integers(0, 2**40)), max_size=6)
MESSAGES = st.text(max_size=30)


def oid(manifest, message="", repository=1, parent=None):
    return revision_oid(repository=repository, parent=parent, manifest=manifest, message=message)


@given(MANIFESTS, MESSAGES, st.randoms())
def test_the_order_of_the_files_does_not_matter(manifest, message, random):
    shuffled = list(manifest.items())
    random.shuffle(shuffled)
    first = oid(manifest, message)
    assert first == oid(dict(shuffled), message)
    assert len(first) == 40
    assert set(first) <= set("0123456789abcdef")


@given(MANIFESTS, MANIFESTS, MESSAGES, MESSAGES)
def test_another_content_or_message_is_another_id(one, two, first, second):
    assert (oid(one, first) == oid(two, second)) == (one == two and first == second)


@given(MANIFESTS, MESSAGES)
def test_another_repository_or_parent_is_another_id(manifest, message):
    ids = {
        oid(manifest, message),
        oid(manifest, message, repository=2),
        oid(manifest, message, parent="0" * 40),
        oid(manifest, message, parent="1" * 40),
    }
    assert len(ids) == 4


def test_the_id_is_pinned():
    """Ids are for ever: clients keep them. SHA-256 over this very text, cut to 40."""
    import hashlib

    manifest = {"b": Entry("1" * 64, 2), "a": Entry("0" * 64, 1)}
    text = (
        '{"manifest":{"a":["' + "0" * 64 + '",1],"b":["' + "1" * 64 + '",2]},"message":"m\\u00fc","parent":null,'
        '"repository":7}'
    )
    assert oid(manifest, "mü", repository=7) == hashlib.sha256(text.encode()).hexdigest()[:40]


@given(st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5) | st.none(), max_size=5))
def test_canonical_json_reads_back(value):
    assert json.loads(canonical_json(value)) == value


def test_canonical_json_refuses_what_is_no_json():
    with pytest.raises(ValueError, match="JSON"):
        canonical_json(float("nan"))


A, B, C = Entry("a" * 64, 1), Entry("b" * 64, 2), Entry("c" * 64, 3)


def test_changes_put_in_take_out_and_replace():
    before = {"x": A, "y": B}
    assert changed(before, {"z": C}, [], False) == {"x": A, "y": B, "z": C}
    assert changed(before, {"x": C}, ["y"], False) == {"x": C}
    assert changed(before, {"z": C}, [], True) == {"z": C}
    with pytest.raises(Invalid, match="'nowhere' can't be deleted"):
        changed(before, {}, ["nowhere"], False)


def digest_of(kind="adapter", **files):
    data = {path.replace("__", "."): text for path, text in files.items()}
    sources = {path: MemoryFile(text) for path, text in data.items()}
    manifest = {path: Entry(f"{abs(hash(text)):064x}", len(text)) for path, text in data.items()}
    return content_digest(kind, manifest, sources)


CONFIG = b'{"r": 8, "peft_type": "LORA"}'
SAME = b'{\n  "peft_type": "LORA",\n  "r": 8\n}\n'


def test_weights_and_config_values_make_the_content():
    first = digest_of(adapter_config__json=CONFIG, adapter_model__safetensors=b"weights")
    assert len(first) == 64
    assert first == digest_of(adapter_config__json=SAME, adapter_model__safetensors=b"weights")
    assert first == digest_of(adapter_config__json=CONFIG, adapter_model__safetensors=b"weights", README__md=b"# Card")
    assert first != digest_of(adapter_config__json=CONFIG, adapter_model__safetensors=b"others")
    assert first != digest_of(adapter_config__json=CONFIG.replace(b"8", b"9"), adapter_model__safetensors=b"weights")
    assert first != digest_of(adapter_config__json=CONFIG, other__safetensors=b"weights")


def test_a_config_with_two_readings_is_compared_by_its_bytes():
    twice = b'{"r": 8, "r": 16}'
    assert digest_of(adapter_config__json=twice) != digest_of(adapter_config__json=b'{"r": 16}')


def test_rows_make_a_datasets_content_and_cards_make_none():
    assert digest_of("dataset", test__jsonl=b"1") != digest_of("dataset", test__jsonl=b"2")
    assert digest_of("dataset", test__jsonl=b"1") == digest_of("dataset", test__jsonl=b"1", README__md=b"#")
    assert digest_of("dataset", README__md=b"#") == digest_of("adapter", README__md=b"#") == ""
