"""The house's rules, checked on every file: arrows between rooms run one way, and pages never load torch."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("hub", "composition", "transfer", "workers", "hubctl")
PLATFORM = {"django", "celery", "rest_framework", "hub", "workers", "hubctl"}
FORBIDDEN = {
    "composition": PLATFORM | {"transfer"},
    "transfer": PLATFORM,
    "hubctl": {"django", "celery", "rest_framework", "hub", "workers", "composition", "transfer"},
    "hub": {"torch", "transformers", "peft", "workers", "transfer", "hubctl"},
    "workers": {"hubctl"},
}
# The loader of mixtures must stand alone in one file, as it is copied into every assembly; the client links to it.
LONGER = {"composition/moe/lora_moe_peft.py": 780, "hubctl/lora_moe_peft.py": 780}
# Everything in the hub but these only reads.
WRITES = ("services", "models")
CREATES = {"create", "bulk_create", "update_or_create", "get_or_create", "bulk_update"}
CREATES |= {f"a{verb}" for verb in CREATES}
# Verbs that are queries' or forms' own as well; they write where they are called on rows or query sets.
ON_ROWS = {"save", "update", "delete", "asave", "aupdate", "adelete"}
FLAT = 20
# The client's face gives `Hub` lazily, and `client` takes its errors from the package: harmless, and named.
CIRCLES = [{"hubctl", "hubctl.client"}]


def sources(room: str) -> list[Path]:
    return sorted(p for p in (ROOT / room).rglob("*.py") if "migrations" not in p.parts)


def imports(path: Path) -> set[str]:
    tree = ast.parse(path.read_text())
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    return names | {n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.module and not n.level}


@pytest.mark.parametrize("path", [p for room in ROOMS for p in sources(room)], ids=lambda p: str(p.relative_to(ROOT)))
def test_arrows_run_one_way(path):
    room = path.relative_to(ROOT).parts[0]
    forbidden = {name for name in imports(path) if name.split(".")[0] in FORBIDDEN[room]}
    assert not forbidden, f"{room}/ may not import {sorted(forbidden)}"


def test_what_the_hub_takes_from_composition_loads_no_torch():
    taken = {name for path in sources("hub") for name in imports(path) if name.split(".")[0] == "composition"}
    assert {"composition.errors", "composition.formats"} <= taken
    code = (
        "import sys, importlib\n"
        f"for name in {sorted(taken)}:\n"
        "    importlib.import_module(name)\n"
        "    assert 'torch' not in sys.modules, name"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


@pytest.mark.parametrize(("door", "other"), [("hub/web", "hub.api"), ("hub/api", "hub.web")])
def test_doors_share_nothing_but_the_house(door, other):
    for path in sources(door):
        assert not {name for name in imports(path) if name.startswith(other)}, f"{path} imports {other}"


def read_only() -> list[Path]:
    return [path for path in sources("hub") if path.relative_to(ROOT / "hub").parts[0] not in WRITES]


@pytest.mark.parametrize("path", read_only(), ids=lambda p: str(p.relative_to(ROOT)))
def test_only_services_write(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            assert not writes(node), f"{path}:{node.lineno} writes: {ast.unparse(node)[:80]}"
        if path.is_relative_to(ROOT / "hub/api") or path.is_relative_to(ROOT / "hub/web"):
            looks_up = isinstance(node, ast.Attribute) and node.attr == "objects"
            assert not looks_up, f"{path}:{node.lineno} asks a model; use access or queries"


def writes(call: ast.Call) -> bool:
    """Whether this is a write to rows: a creating call on anything, or save, update, delete on rows or query sets."""
    verb, receiver = call.func.attr, ast.unparse(call.func.value)
    if verb in CREATES:
        return True
    if verb in ("execute", "executemany"):
        return bool(call.args)  # SQL; a pipeline of Redis executes without.
    if verb not in ON_ROWS:
        return False
    if receiver.endswith(".conf"):
        return False
    if ".objects" in receiver or "filter(" in receiver or "exclude(" in receiver:
        return True
    # `{}.update(other)` of a dict gives one positional value; a query set's update gives columns by name.
    return (verb.endswith("update") and bool(call.keywords)) or (not verb.endswith("update") and not call.args)


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("Job.objects.create(kind='x')", True),
        ("rows.filter(pk=1).update(state='done')", True),
        ("row.save(update_fields=['state'])", True),
        ("row.delete()", True),
        ("row.asave()", True),
        ("cursor.execute('DELETE FROM hub_job')", True),
        ("Job.objects.filter(pk=1).delete()", True),
        ("found.update(other)", False),
        ("hasher.update(block)", False),
        ("services.delete_tag(actor=user)", False),
    ],
)
def test_a_write_is_known_when_it_is_seen(code, found):
    assert writes(ast.parse(code).body[0].value) is found


@pytest.mark.parametrize("room", ROOMS)
def test_no_circles_of_imports(room):
    found = [circle for circle in circles(room) if circle not in CIRCLES]
    assert not found, found


def circles(room: str) -> list[set[str]]:
    """The sets of modules of a room that import each other, at their top or inside functions."""
    modules = {module_of(path): path for path in sources(room)}
    graph = {name: edges(name, path, modules) for name, path in modules.items()}
    reached: dict[str, set[str]] = {}
    for name in graph:
        seen, todo = set(), list(graph[name])
        while todo:
            if (one := todo.pop()) not in seen:
                seen.add(one)
                todo += graph[one]
        reached[name] = seen
    found = []
    for name in graph:
        circle = {other for other in reached[name] if name in reached[other]}
        if circle and circle not in found:
            found.append(circle)
    return found


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def edges(name: str, path: Path, modules: dict[str, Path]) -> set[str]:
    """The modules that one imports, leaving out what is for type checkers alone."""
    tree = ast.parse(path.read_text())
    typing = {id(n) for n in ast.walk(tree) if isinstance(n, ast.If) and "TYPE_CHECKING" in ast.unparse(n.test)}
    nodes, todo = [], [tree]
    while todo:
        node = todo.pop()
        nodes.append(node)
        todo += [child for child in ast.iter_child_nodes(node) if id(child) not in typing]
    found: set[str] = set()
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            start = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                full = f"{start}.{alias.name}"
                found.add(full if full in modules else start)
    return (found & modules.keys()) - {name}


def test_a_circle_is_known_when_it_is_seen(tmp_path, monkeypatch):
    room = tmp_path / "hub"
    room.mkdir()
    (room / "__init__.py").write_text("")
    (room / "a.py").write_text("def late():\n    from hub.b import x\n")
    (room / "b.py").write_text("from hub import c\n")
    (room / "c.py").write_text("from .a import late\n")
    (room / "d.py").write_text("from hub.a import late\n")
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    assert circles("hub") == [{"hub.a", "hub.b", "hub.c"}]


def test_no_folder_is_a_heap():
    folders = {path.parent for room in ROOMS for path in sources(room)}
    counts = {str(f.relative_to(ROOT)): len(list(f.glob("*.py"))) for f in folders}
    heaps = {name: count for name, count in counts.items() if count > FLAT}
    assert not heaps, f"Which nouns do these hold? {heaps}"


def test_pages_and_api_load_no_torch():
    code = (
        "import os, sys, django; os.environ['DJANGO_SETTINGS_MODULE'] = 'hub.settings'; django.setup();"
        "from django.urls import get_resolver; get_resolver().url_patterns; import hub.api.urls, hub.web.urls;"
        "assert 'torch' not in sys.modules and 'transformers' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


@pytest.mark.parametrize("room", ROOMS)
def test_files_stay_small(room):
    lengths = {str(p.relative_to(ROOT)): len(p.read_text().splitlines()) for p in sources(room)}
    long = {name: n for name, n in lengths.items() if n > LONGER.get(name, 300)}
    assert not long, f"Which two things does each do? {long}"
