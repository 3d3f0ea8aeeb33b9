"""The room's own rules: it stands without Django, and all that it refuses is told in the documentation."""

import ast
import re
import subprocess
import sys

from tests.test_rooms import ROOT, imports, sources

ROOM = [path for path in sources("hub") if path.is_relative_to(ROOT / "hub/xet")]


def codes() -> set[str]:
    found = set()
    for path in ROOM:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "XetError":
                assert isinstance(node.args[0], ast.Constant), f"{path}:{node.lineno} makes up its code"
                found.add(f"xet.{node.args[0].value}")
    return found


def test_every_refusal_stands_in_the_documentation_and_no_other():
    told = set(re.findall(r"^\| `(xet\.\w+)` \|", (ROOT / "docs/xet.md").read_text(), re.MULTILINE))
    assert len(codes()) > 20 and codes() == told


def test_it_knows_of_the_hub_nothing_but_itself():
    taken = {name for path in ROOM for name in imports(path)}
    ours = {name for name in taken if name.split(".")[0] in ("hub", "composition", "django")}
    assert ours and all(name.startswith("hub.xet.") or name == "composition.errors" for name in ours)
    code = (
        "import sys, hub.xet.files\n"
        "heavy = {'django', 'torch', 'rest_framework', 'hub.models'} & sys.modules.keys()\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
