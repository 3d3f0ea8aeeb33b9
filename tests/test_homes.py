"""A kind of job is known in its home alone: nobody else asks which one it is, in code or in a page."""

import ast
import re
from collections.abc import Collection
from functools import cache

import pytest

from tests.test_rooms import ROOT, sources

# Where a kind of job has its home; nobody else asks which kind one is.
HOMES = ("hub/services/jobs/kinds", "workers/kinds", "composition", "transfer")


OUTSIDE = [
    path
    for room in ("hub", "workers", "hubctl")
    for path in sources(room)
    if not any(path.is_relative_to(ROOT / home) for home in (*HOMES, "hub/models"))
]


@pytest.mark.parametrize("path", OUTSIDE, ids=lambda p: str(p.relative_to(ROOT)))
def test_nobody_outside_asks_which_kind_a_job_is(path):
    tree = ast.parse(path.read_text())
    lists = lists_everywhere()
    for node in ast.walk(tree):
        assert not asks_kind(node, lists), (
            f"{path}:{node.lineno} asks for a kind: {ast.unparse(node)[:80]}; ask its home"
        )


def asks_kind(node: ast.AST, lists: Collection[str] = ()) -> bool:
    """`verb == …`, `kind in (…)`, `job["kind"] == "lego"`, `kind.startswith(…)`, `isinstance(recipe, LegoRecipe)`,
    `type(recipe) is LegoRecipe`, or a match on one of them.

    Two variables may be compared, and a kind looked up in a table by its name; a constant is asking. `lists` are the
    names of constants that list kinds.
    """
    if isinstance(node, ast.Compare):
        sides = [node.left, *node.comparators]
        if any(map(is_type_of_recipe, sides)):
            return True
        if any(map(looks_up_kind, sides)):
            return any(strings(side) & method_words() for side in sides)
        in_table = isinstance(node.ops[0], ast.In | ast.NotIn) and is_table(node.comparators[0], lists)
        return any(map(names_kind, sides)) and any(map(is_constant, sides)) and not in_table
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("isinstance", "issubclass"):
        return "Recipe" in ast.unparse(node.args[1])
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        begins = node.func.attr == "startswith" and names_kind(node.func.value) and node.args
        return bool(begins) and any(word.startswith(tuple(strings(node.args[0]))) for word in method_words())
    return isinstance(node, ast.Match) and (names_kind(node.subject) or "recipe" in ast.unparse(node.subject).lower())


def lists_of_kinds(tree: ast.Module) -> set[str]:
    """The constants of a module that name kinds of jobs."""
    names = set()
    for node in tree.body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value and strings(node.value) & method_words():
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {target.id for target in targets if isinstance(target, ast.Name)}
    return names


@cache
def lists_everywhere() -> set[str]:
    """Those of all modules, as any other may import them; the tables of all methods are not among them."""
    modules = [ast.parse(path.read_text()) for room in ("hub", "workers", "hubctl") for path in sources(room)]
    return set().union(*map(lists_of_kinds, modules))


@cache
def method_words() -> set[str]:
    from composition.registry import METHODS

    return {*METHODS, *(method.verb for method in METHODS.values())}


def strings(node: ast.AST) -> set[str]:
    return {n.value for n in ast.walk(node) if isinstance(n, ast.Constant) and isinstance(n.value, str)}


def is_type_of_recipe(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and ast.unparse(node.func) == "type" and "recipe" in ast.unparse(node).lower()


def looks_up_kind(node: ast.AST) -> bool:
    """`x["kind"]` or `x.get("kind")`; other things have kinds as well, so only a method's words count there."""
    got = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "get" and node.args
    key = node.args[0] if got else node.slice if isinstance(node, ast.Subscript) else None
    return isinstance(key, ast.Constant) and key.value in ("kind", "verb", "method")


def names_kind(node: ast.AST) -> bool:
    name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
    return name in ("kind", "verb")


def is_table(node: ast.AST, lists: Collection[str]) -> bool:
    return isinstance(node, ast.Name) and node.id not in lists


def is_constant(node: ast.AST) -> bool:
    if isinstance(node, ast.Tuple | ast.List | ast.Set):
        return any(map(is_constant, node.elts))
    name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
    return (isinstance(node, ast.Constant) and node.value not in ("", None)) or (name.isupper() and len(name) > 1)


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("method.verb == 'merge'", True),
        ("job.kind in ('lego', 'svd')", True),
        ("kind != FINGERPRINT", True),
        ("repository.kind == Kind.ADAPTER", True),
        ("isinstance(recipe, LegoRecipe)", True),
        ("issubclass(method.recipe, ShortcutRecipe)", True),
        ("job.kind == other.kind", False),
        ("kind in METHODS", False),
        ("kind not in (LEGO, SVD)", True),
        ("isinstance(record.get('recipe'), dict)", False),
        ("row['kind'] in known", False),
        ("row['kind'] == 'lego'", True),
        ("report.get('method') in ('lego', 'svd')", True),
        ("source.get('kind') != 'folder'", False),
        ("MERGES = frozenset({'lego'})\nkind in MERGES", True),
        ("MERGES: tuple = ('lego',)\nkind in MERGES", True),
        ("LABELS = {'seeds': 'x'}\nkind in LABELS", False),
        ("event.verb.startswith('job.')", False),
        ("kind.startswith('trans')", True),
        ("type(recipe) is LegoRecipe", True),
        ("type(module) is Linear", False),
    ],
)
def test_asking_for_a_kind_is_known_when_it_is_seen(code, found):
    tree = ast.parse(code)
    assert asks_kind(tree.body[-1].value, lists_of_kinds(tree)) is found


def test_no_template_asks_which_kind_a_job_is():
    words = method_words()
    asked = re.compile(r"""(?:kind|verb) (?:==|!=|in|not in) ["']([\w -]+)["']""")
    for path in sorted((ROOT / "templates").rglob("*.html")):
        found = {word for given in asked.findall(path.read_text()) for word in given.split()} & words
        assert not found, f"{path} asks for {found}"
