"""Every code of an error stands on a page of docs/: the codes are collected from the syntax, the pages read."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CODE = re.compile(r"[a-z][a-z_0-9]*\.[a-z][a-z_0-9]*")
ROOMS = ("composition", "transfer", "hub", "workers", "hubctl")
FINDINGS = ROOT / "hub" / "services" / "upkeep" / "checks"
"""What a check of the whole store finds is a finding, which a report shows, and no error."""
RAISES = re.compile(r".*Error|Invalid|NotFound|Conflict|Refused|Busy|Gone|TooMany.*|error|refuse|_refuse")


def files() -> Iterator[Path]:
    for room in ROOMS:
        yield from (path for path in sorted((ROOT / room).rglob("*.py")) if FINDINGS not in path.parents)


def codes_in(tree: ast.AST) -> Iterator[str]:
    """The codes that are given first to what raises, as `code=`, or as a class's `code`; also by a condition."""
    for node in ast.walk(tree):
        given: list[ast.expr | None] = []
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            given += node.args[:1] if RAISES.fullmatch(name) else []
            given += [keyword.value for keyword in node.keywords if keyword.arg == "code"]
        elif isinstance(node, ast.Assign):
            given += [node.value] if getattr(node.targets[0], "id", "") == "code" else []
        for one in given:
            yield from (code for part in ast.walk(one) for code in _constants(part)) if _maps(one) else _constants(one)


def _constants(node: ast.expr | None) -> Iterator[str]:
    if isinstance(node, ast.IfExp):
        yield from _constants(node.body)
        yield from _constants(node.orelse)
    elif isinstance(node, ast.Constant) and isinstance(node.value, str) and CODE.fullmatch(node.value):
        yield node.value


def _maps(node: ast.expr) -> bool:
    """Whether a code is looked up in a dictionary that stands there: `{"a": "b.c"}.get(…)`."""
    return any(isinstance(part, ast.Dict) for part in ast.walk(node))


def raised() -> dict[str, set[str]]:
    """Code → the files that raise it."""
    found: dict[str, set[str]] = {}
    for path in files():
        for code in codes_in(ast.parse(path.read_text())):
            found.setdefault(code, set()).add(path.relative_to(ROOT).as_posix())
    return found


def documented() -> set[str]:
    """Codes in backquotes on any page; `.name` in a row of a table stands for the area of the code before it."""
    found = set()
    for page in (ROOT / "docs").glob("*.md"):
        for line in page.read_text().splitlines():
            area = ""
            for code in re.findall(r"`([a-z][a-z_0-9]*\.[a-z_0-9]+|\.[a-z_0-9]+)`", line):
                area = code.partition(".")[0] or area
                found.add(f"{area}.{code.partition('.')[2]}")
    return found


RAISED, DOCUMENTED = raised(), documented()


@pytest.mark.parametrize("area", sorted({code.partition(".")[0] for code in RAISED}))
def test_every_code_of_the_area_stands_in_the_docs(area):
    missing = {code: files for code, files in RAISED.items() if code.partition(".")[0] == area}
    missing = {code: sorted(files) for code, files in missing.items() if code not in DOCUMENTED}
    assert missing == {}, "tell them in docs/errors.md, or on the page of their subject"


def test_the_page_of_errors_has_no_code_that_nothing_raises():
    page = (ROOT / "docs" / "errors.md").read_text()
    listed = set()
    for line in page.splitlines():
        area = ""
        for code in re.findall(r"`([a-z_]*\.[a-z_]+)`", line.split("|")[1]) if line.startswith("| `") else ():
            area = code.partition(".")[0] or area
            listed.add(f"{area}.{code.partition('.')[2]}")
    assert len(listed) > 100
    assert listed - set(RAISED) == set()


@pytest.mark.parametrize(
    ("source", "code"),
    [
        ('raise CompositionError("train.diverged", "…")', "train.diverged"),
        ('raise Invalid("…", code="upload.gone")', "upload.gone"),
        ('class Gone(HubError):\n    code = "job.owner_gone"', "job.owner_gone"),
        ('raise TransferError("transfer.a" if x else "transfer.b", "…")', "transfer.b"),
        ('return error("base.shape", "…")', "base.shape"),
        ('code = {"parse_error": "json.malformed"}.get(x, x)', "json.malformed"),
    ],
)
def test_every_way_to_raise_is_found(source, code):
    assert code in set(codes_in(ast.parse(source)))


def test_the_collection_finds_what_is_raised():
    for code in ("job.owner_gone", "upload.offset", "transfer.starved", "train.diverged", "merge.singular"):
        assert code in RAISED, code
