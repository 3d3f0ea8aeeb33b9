"""Every code of an import stands in docs/formats.md and is provoked by a test beside this one."""

import re
from pathlib import Path

from composition.formats import foreign

FOLDER = Path(foreign.__file__).parent
PAGE = (FOLDER.parents[2] / "docs" / "formats.md").read_text().partition("## Formats of other tools")[2]
TESTS = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py") if path.name != "test_codes.py")
FIELD = (Path(__file__).parents[2] / "field" / "test_cases.py").read_text()


def raised() -> set[str]:
    source = "".join(path.read_text() for path in FOLDER.rglob("*.py"))
    imports = {f"import.{code}" for code in re.findall(r'refuse\(\s*"([a-z_]+)"', source)}
    return imports | {"gguf.broken", "gguf.too_large"}


def documented() -> set[str]:
    found = set()
    for line in PAGE.splitlines():
        area = ""
        for code in re.findall(r"`([a-z]*\.[a-z_]+)`", line.split("|")[1]) if line.startswith("| ") else ():
            area = code.partition(".")[0] or area
            found.add(f"{area}.{code.partition('.')[2]}")
    return {code for code in found if code.startswith(("import.", "gguf."))}


def test_the_page_has_every_code_and_no_other():
    assert documented() == raised()


def test_each_is_provoked():
    assert {code for code in raised() if f'"{code}"' not in TESTS + FIELD} == set()
