"""docs/architecture.md is true to the tree: its steps are six, its paths exist, its names resolve, its toys obey."""

import re
from importlib import import_module
from pathlib import Path

import pytest

from tests.adding import overlay

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs/architecture.md").read_text()
SECTIONS = {part.partition("\n")[0]: part for part in re.split(r"^## ", TEXT, flags=re.MULTILINE)[1:]}
RECIPES = ["Add a merge method", "Add a format", "Add a job kind", "Add a page"]
QUOTED = sorted(set(re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", TEXT, flags=re.MULTILINE | re.DOTALL))))
PACKAGES = ("composition", "hub", "hubctl", "transfer", "workers", "tests")
TOPS = {path.name for path in ROOT.iterdir() if path.is_dir()}
PATHS = [word for word in QUOTED if re.fullmatch(r"[\w./-]+/[\w./-]*", word) and word.partition("/")[0] in TOPS]
NAMES = [word for word in QUOTED if re.fullmatch(rf"({'|'.join(PACKAGES)})(\.\w+)+", word)]


def numbers(section: str) -> list[int]:
    """The numbers of a section's steps."""
    return [int(number) for number in re.findall(r"^(\d+)\. ", section, flags=re.MULTILINE)]


def resolve(name: str) -> object:
    """What a dotted name stands for: a module, or what one holds."""
    module, _, rest = name.partition(".")
    found = import_module(module)
    for part in rest.split("."):
        module = f"{module}.{part}"
        found = getattr(found, part) if hasattr(found, part) else import_module(module)
    return found


def test_there_is_enough_to_look_at():
    assert len(PATHS) >= 40
    assert len(NAMES) >= 8
    assert list(SECTIONS)[-4:] == RECIPES


@pytest.mark.parametrize("title", RECIPES)
def test_each_way_to_add_something_has_six_steps_and_a_test(title):
    assert numbers(SECTIONS[title]) == [1, 2, 3, 4, 5, 6]
    opening = SECTIONS[title].partition("\n1. ")[0]
    tests = re.findall(r"`(tests/[\w/]+/test_\w+\.py)`", opening)
    assert tests and all((ROOT / path).exists() for path in tests)


@pytest.mark.parametrize("path", PATHS)
def test_every_path_exists(path):
    """Of a path with a NAME to fill in, the folder."""
    parts = Path(path).parts
    known = parts[: next((place for place, part in enumerate(parts) if "NAME" in part), len(parts))]
    found = ROOT.joinpath(*known)
    assert found.exists()
    assert found.is_dir() or not path.endswith("/")


@pytest.mark.parametrize("name", NAMES)
def test_every_name_resolves(name):
    assert resolve(name) is not None


@pytest.mark.parametrize(
    ("toy", "title", "name"),
    [("toy_merge", RECIPES[0], "fade"), ("toy_kind", RECIPES[2], "scale"), ("toy_page", RECIPES[3], "family")],
)
def test_the_files_of_a_toy_are_those_that_its_steps_name(toy, title, name):
    named = {word.replace("NAME", name) for word in QUOTED if "NAME" in word and f"`{word}`" in SECTIONS[title]}
    templates = {path for path in overlay.files(toy) if path.startswith("templates/")}
    assert set(overlay.files(toy)) - templates <= named
    assert not templates or "`templates/`" in SECTIONS[title]


def test_the_rooms_of_the_table_are_all_there_are():
    """A new folder of the hub, of composition or of the workers gets its line."""
    table = SECTIONS["The rooms"]
    for room in ("hub", "composition", "workers"):
        for folder in sorted(path for path in (ROOT / room).iterdir() if (path / "__init__.py").exists()):
            if folder.name not in ("migrations", "management"):
                assert re.search(rf"`({room}/)?{folder.name}/`", table), f"{room}/{folder.name}"
