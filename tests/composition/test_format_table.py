"""The table of formats: rows that are found, a toy one from recognition to a merge, and file names at home only."""

import ast
import dataclasses
import json
import shutil
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save

import composition.formats
import composition.formats.foreign
from composition.errors import CompositionError
from composition.formats import FORMATS, read_adapter
from composition.formats.sources import MemoryFile
from composition.formats.table import Format, Table
from composition.formats.validate import local_files, validate_adapter
from composition.merging.svd import svd
from composition.recipes import SvdRecipe
from composition.weights import LoraWeights, save_peft
from tests import toy_format, uploads

FOREIGN = [row.name for row in composition.formats.foreign.ROWS]
ROOT = Path(__file__).resolve().parents[2]
Q0 = "model.layers.0.self_attn.q_proj"


def toy_files(seed: int = 0, r: int = 2, module: str = Q0, scale: float = 0.5) -> dict[str, bytes]:
    out_features, in_features = uploads.SHAPES[module]
    random = np.random.default_rng(seed)
    shapes = {f"{module}.down": (r, in_features), f"{module}.up": (out_features, r)}
    tensors = {name: random.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    return {"toy.json": json.dumps({"base": "pico/llama", "scale": scale}).encode(), "toy.safetensors": save(tensors)}


def write(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir()
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


def sources(files: dict[str, bytes]) -> dict[str, MemoryFile]:
    return {name: MemoryFile(data) for name, data in files.items()}


def row(**fields) -> Format:
    return dataclasses.replace(toy_format.ROW, **fields)


class TestRows:
    def test_particular_rows_come_first_and_fallbacks_last(self):
        assert list(FORMATS) == [*sorted([*FOREIGN, "mixture"]), "dataset", "generator", "peft"]
        assert [one.name for one in FORMATS.holding("adapter")] == [*sorted([*FOREIGN, "mixture"]), "peft"]

    @pytest.mark.parametrize("name", ["dataset", "generator", "mixture", "peft", *FOREIGN])
    def test_a_row_says_what_it_reads_and_counts_its_own_files(self, name):
        one = FORMATS[name]
        assert one.name == name
        assert all(one.content(path) for path in one.files)
        assert not one.content("README.md")
        assert one.read is None or callable(one.reader())

    def test_two_rows_of_one_name_are_refused(self):
        with pytest.raises(ValueError, match="Two formats are named 'peft'"):
            FORMATS.register(row(name="peft"))
        with pytest.raises(ValueError, match="peft and toy are both the fallback for adapters"):
            FORMATS.register(row(fallback=True))
        assert "toy" not in FORMATS

    def test_a_row_that_can_not_be_is_refused(self):
        with pytest.raises(ValueError, match=r"holds is 'model'; expected one of adapter"):
            row(holds="model")
        with pytest.raises(ValueError, match="must be read"):
            row(read=None)

    def test_what_no_row_recognises_is_the_fallbacks_to_refuse(self):
        with pytest.raises(CompositionError) as caught:
            validate_adapter(sources({"notes.md": b"# Notes"}))
        assert caught.value.code == "adapter.file_missing"


class TestAddedFormat:
    """The steps of docs/architecture.md, "Add a format", one after the other."""

    @pytest.fixture
    def toy(self):
        with FORMATS.registered(toy_format.ROW) as added:
            yield added

    def test_a_new_sub_package_is_found(self, tmp_path, monkeypatch):
        (tmp_path / "toy").mkdir()
        shutil.copy(toy_format.__file__, tmp_path / "toy" / "__init__.py")
        monkeypatch.setattr(composition.formats, "__path__", [*composition.formats.__path__, str(tmp_path)])
        monkeypatch.setattr(composition.formats, "toy", None, raising=False)
        try:
            table = Table("composition.formats")
            assert list(table) == [*sorted([*FOREIGN, "mixture", "toy"]), "dataset", "generator", "peft"]
            assert table["toy"].read == "composition.formats.toy:read"
            assert callable(table["toy"].reader())
        finally:
            sys.modules.pop("composition.formats.toy", None)

    def test_it_is_recognised_checked_read_and_merged(self, toy, tmp_path):
        folder = write(tmp_path / "toy", toy_files())
        assert FORMATS.recognise("adapter", local_files(folder)) is toy
        facts = validate_adapter(local_files(folder), base_shapes=uploads.SHAPES)
        assert (facts.peft_type, facts.ranks, facts.needs_base) == ("TOY", (2, 2), [])
        adapter = read_adapter(folder)
        save_peft(read_adapter(write(tmp_path / "other", toy_files(seed=1))), tmp_path / "plain")
        plain = read_adapter(tmp_path / "plain")
        merged = svd([adapter, plain], SvdRecipe(rank=4)).weights
        assert isinstance(merged, LoraWeights)
        expected = (adapter[Q0].delta() + plain[Q0].delta()) / 2
        assert torch.allclose(merged[Q0].delta(), expected, atol=1e-5)

    def test_its_refusals_are_its_own(self, toy):
        files = toy_files()
        for change, code in (({"toy.safetensors": None}, "toy.file_missing"), ({"run.py": b"x"}, "content.code")):
            given = {name: data for name, data in (files | change).items() if data is not None}
            with pytest.raises(CompositionError) as caught:
                validate_adapter(sources(given))
            assert caught.value.code == code
        with pytest.raises(CompositionError) as caught:
            validate_adapter(sources(files), base_shapes={Q0: [8, 8]})
        assert caught.value.code == "toy.shape"

    def test_other_formats_do_not_notice(self, toy):
        files = sources(uploads.adapter() | {"toy.md": b"# A toy"})
        assert FORMATS.recognise("adapter", files).name == "peft"
        assert FORMATS.recognise("generator", files).name == "generator"

    def test_one_that_does_not_merge_says_why(self):
        with FORMATS.registered(row(read=None, merges=False)):
            facts = validate_adapter(sources(toy_files()))
            (need,) = facts.needs_base
            assert (need["code"], need["reason"]) == ("format", "It is stored as Toy, which can't be merged.")
            with pytest.raises(CompositionError) as caught:
                SvdRecipe(rank=2).check([("toy", facts)])
        assert caught.value.code == "merge.needs_base"


def test_a_zip_with_the_longest_comment_is_refused_by_the_one_gate():
    """Its directory begins before the last 64 KiB; a gate that saw no more of the end would let it in."""
    entry, end = b"PK\x01\x02" + bytes(42), b"PK\x05\x06" + bytes(16) + (0xFFF0 - 22).to_bytes(2, "little")
    data = b"plain text\n" * 10 + entry + end + b" " * (0xFFF0 - 22)
    with pytest.raises(CompositionError) as caught:
        validate_adapter(sources(uploads.adapter() | {"notes.txt": data}))
    assert caught.value.code == "content.zip"


# Where a format's file names may stand, beside the rows' own sub-packages.
ELSEWHERE = {
    "composition/formats/pickles.py": "the command that turns a pickle into safetensors, for people to run",
    "composition/formats/folder_rules.py": "stands alone, for the client ships it",
    "composition/merged_model/adapter.py": "stands alone, for the client ships it",
}


def file_names() -> set[str]:
    return {name for one in FORMATS.values() for name in one.files}


def literals(path: Path) -> list[tuple[int, str]]:
    """(line, text) of every string in a module that is not a docstring."""
    tree = ast.parse(path.read_text())
    prose = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    strings = [node for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    return [(node.lineno, node.value) for node in strings if id(node) not in prose]


def test_file_names_stand_at_their_formats_alone():
    names = {"foreign" if row.convert else row.name for row in FORMATS.values()}
    homes = [Path(import_module(f"composition.formats.{name}").__file__).parent for name in names]
    found = []
    for room in ("hub", "workers", "transfer", "composition"):
        for path in sorted((ROOT / room).rglob("*.py")):
            if path.relative_to(ROOT).as_posix() in ELSEWHERE or any(home in path.parents for home in homes):
                continue
            for line, text in literals(path):
                found += [f"{path.relative_to(ROOT)}:{line} {name}" for name in file_names() if name in text]
    assert not found, "ask the format's row for these names"


def test_templates_compare_and_link_no_file_name():
    """In prose they may stand; in quotes inside a tag they would be a rule."""
    quoted = [f'"{name}"' for name in file_names()]
    templates = sorted((ROOT / "templates").rglob("*.html"))
    found = [path.name for path in templates if any(name in path.read_text() for name in quoted)]
    assert not found
