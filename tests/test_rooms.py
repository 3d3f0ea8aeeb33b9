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
# What hub/ may take from composition/: the parts that are free of torch.
FREE_OF_TORCH = (
    "composition.chunking",
    "composition.errors",
    "composition.facts",
    "composition.recipes",
    "composition.intervals",
    "composition.registry",
    "composition.formats",
)
# The loader of mixtures must stand alone in one file, as it is copied into every assembly; the client links to it.
LONGER = {"composition/moe/lora_moe_peft.py": 720, "hubctl/lora_moe_peft.py": 720}
READ_ONLY = ("hub/access.py", "hub/queries", "hub/api", "hub/web")
WRITES = {"create", "bulk_create", "update_or_create", "get_or_create", "bulk_update"}


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
    if room == "hub":
        taken = {name for name in imports(path) if name.split(".")[0] == "composition"}
        assert all(name.startswith(FREE_OF_TORCH) for name in taken), taken


@pytest.mark.parametrize(("door", "other"), [("hub/web", "hub.api"), ("hub/api", "hub.web")])
def test_doors_share_nothing_but_the_house(door, other):
    for path in sources(door):
        assert not {name for name in imports(path) if name.startswith(other)}, f"{path} imports {other}"


@pytest.mark.parametrize("place", READ_ONLY)
def test_only_services_write(place):
    paths = [ROOT / place] if place.endswith(".py") else sources(place)
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text())):
            assert not (isinstance(node, ast.Attribute) and node.attr in WRITES), f"{path}:{node.lineno} writes"
            if place in ("hub/api", "hub/web"):
                looks_up = isinstance(node, ast.Attribute) and node.attr == "objects"
                assert not looks_up, f"{path}:{node.lineno} asks a model; use access or queries"


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
