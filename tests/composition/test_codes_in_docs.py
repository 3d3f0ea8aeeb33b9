"""Every code that `composition/formats` raises stands in docs/formats.md: the codes are collected from the syntax."""

import ast
import re
from collections import defaultdict
from pathlib import Path

import pytest

from composition import formats

FOLDER = Path(formats.__file__).parent
PAGE = (FOLDER.parent.parent / "docs" / "formats.md").read_text()
ERROR, STRICT = "CompositionError", "strict_loads"
OF_JSON = ("json", "duplicate_key", "not_finite")
"""What `strict_loads` raises in the area that it is given."""


def modules():
    """Without the imports: `foreign/test_codes.py` holds theirs."""
    paths = (path for path in sorted(FOLDER.rglob("*.py")) if path.parent.name != "foreign")
    return {path: ast.parse(path.read_text()) for path in paths}


def name_of(call):
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def calls(tree):
    return [node for node in ast.walk(tree) if isinstance(node, ast.Call)]


def prefixes(tree):
    """Function → (position of the parameter that is or ends the code, what stands before it), as in f"area.{code}"."""
    found = {}
    for function in (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)):
        parameters = [argument.arg for argument in function.args.args if argument.arg != "self"]
        for call in calls(function):
            if name_of(call) != ERROR:
                continue
            code = call.args[0]
            if isinstance(code, ast.Name) and code.id in parameters:
                found[function.name] = parameters.index(code.id), ""
            elif isinstance(code, ast.JoinedStr) and isinstance(code.values[0], ast.Constant):
                ending = code.values[-1].value
                if isinstance(ending, ast.Name):
                    found[function.name] = parameters.index(ending.id), code.values[0].value
    return found


def constants(node):
    """The strings that an expression may be: itself, or the arms of a condition."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return {node.value}
    return constants(node.body) | constants(node.orelse) if isinstance(node, ast.IfExp) else set()


def raised():
    """Code → the files that raise it."""
    found = defaultdict(set)
    for path, tree in modules().items():
        by_function = prefixes(tree)
        # A wrapper of a wrapper: `tensor_error(code, …)` calls `error(code, …)`.
        for function in (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)):
            parameters = [argument.arg for argument in function.args.args if argument.arg != "self"]
            for call in calls(function):
                known = by_function.get(name_of(call))
                if known and len(call.args) > known[0] and getattr(call.args[known[0]], "id", None) in parameters:
                    by_function.setdefault(function.name, (parameters.index(call.args[known[0]].id), known[1]))
        for call in calls(tree):
            name = name_of(call)
            if name == ERROR and call.args:
                codes = constants(call.args[0])
            elif name in by_function and len(call.args) > by_function[name][0]:
                place, prefix = by_function[name]
                codes = {f"{prefix}{code}" for code in constants(call.args[place])}
            elif name == STRICT:
                (area,) = (keyword.value.value for keyword in call.keywords if keyword.arg == "area")
                codes = {f"{area}.{code}" for code in OF_JSON}
            elif name == "Disguise":
                codes = {f"content.{code}" for code in constants(call.args[0])}
            else:
                continue
            for code in codes:
                found[code].add(path.relative_to(FOLDER).as_posix())
    return found


def documented():
    """`.name` in a row of the page stands for the area of the row's first code."""
    listed = set()
    for line in PAGE.splitlines():
        area = ""
        for code in re.findall(r"`([a-z]*\.[a-z_]+)`", line.split("|")[1]) if line.startswith("| `") else ():
            area = code.partition(".")[0] or area
            listed.add(f"{area}.{code.partition('.')[2]}")
    return listed


RAISED = raised()


@pytest.mark.parametrize("code", sorted(RAISED))
def test_the_page_has_the_code(code):
    assert code in documented(), f"{code} of {', '.join(RAISED[code])} is missing in docs/formats.md"


def test_the_collection_finds_the_codes_of_every_way_to_raise():
    """Direct, by a function that adds the area, by a method, by a wrapper of one, by the strict JSON reader."""
    ways = ("adapter.no_folder", "path.not_nfc", "adapter.unpaired", "safetensors.trailing", "safetensors.offsets")
    for code in (*ways, "config.duplicate_key", "content.lfs_pointer", "dataset.blank", "adapter.twice", "base.code"):
        assert code in RAISED, code
    assert len(RAISED) > 90


@pytest.mark.parametrize("code", sorted(documented()))
def test_the_page_has_no_other_code(code):
    assert code in RAISED
