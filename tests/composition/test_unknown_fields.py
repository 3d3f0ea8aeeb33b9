"""What our release of peft doesn't know is stored with a warning and not merged; what says nothing changes nothing."""

import importlib.metadata

import pytest

from composition.errors import CompositionError
from composition.formats import read_adapter
from composition.formats.peft.checks.unknown_fields import is_newer
from composition.formats.peft.types import PEFT_RELEASE
from composition.formats.sources import MemoryFile
from composition.formats.validate import validate_adapter
from tests.uploads import SHAPES, adapter


def facts_of(**fields):
    files = {name: MemoryFile(data) for name, data in adapter(**fields).items()}
    return validate_adapter(files, base_shapes=SHAPES)


NEW, OLD = {"peft_version": "0.22.0.dev0@abcdef"}, {"peft_version": "0.18.1"}


@pytest.mark.parametrize(
    "fields",
    [
        {"use_brand_new_variant": True},
        {**OLD, "use_brand_new_variant": True},
        {**NEW, "use_brand_new_variant": True},
        {**OLD, "novel_config": {}},
        {"novel_config": {"x": 1}},
        {**NEW, "novel_size": 16},
        {**NEW, "novel_names": ["q_proj"]},
        {**NEW, "novel_mode": "blockwise"},
        {"peft_version": "1.0.0", "novel_size": 0.5},
    ],
)
def test_what_may_change_the_factors_is_stored_and_not_merged(fields, tmp_path):
    facts = facts_of(**fields)
    (name,) = fields.keys() - {"peft_version"}
    (reason,) = facts.needs_base
    assert reason["code"] == "unknown_fields"
    assert name in reason["reason"]
    (warning,) = facts.warnings
    assert name in warning
    assert "not merged" in warning
    for file, data in adapter(**fields).items():
        (tmp_path / file).write_bytes(data)
    with pytest.raises(CompositionError) as caught:
        read_adapter(tmp_path)
    assert caught.value.code == "adapter.needs_base"


@pytest.mark.parametrize(
    "fields",
    [
        {**NEW, "use_brand_new_variant": False, "novel_config": None, "novel_names": [], "novel_pattern": {}},
        {"written_by": "my trainer 3.1"},
        {**OLD, "novel_size": 16},
        {"merge_weights": True},
    ],
)
def test_what_says_nothing_is_merged_with_the_warning(fields):
    facts = facts_of(**fields)
    assert facts.needs_base == []
    (warning,) = facts.warnings
    assert "not merged" not in warning


def test_a_newer_version_alone_changes_nothing():
    assert facts_of(**NEW).needs_base == []
    assert facts_of(**NEW).warnings == []


def test_versions_compare_by_their_minor_release():
    assert [is_newer(given) for given in ("0.21.9", "0.9.0", "0.22.0.dev0@abc", "1.0", "0.210")] == [
        False, False, True, True, True,
    ]  # fmt: skip
    assert not any(is_newer(given) for given in (None, 5, "", "unknown", ["0.30"]))


def test_the_release_is_the_installed_one():
    major, minor, *_ = importlib.metadata.version("peft").split(".")
    assert (int(major), int(minor)) == PEFT_RELEASE
