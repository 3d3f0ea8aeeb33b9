"""Text that lies on every machine after `make setup`: what the installed Python packages say and what they are made of.

    docstrings   of modules, classes and functions
    code         the source of functions and classes, without their docstrings

Packages, not documents, are held out: no held-out document shares its project, author or boilerplate with the training.
Order and content follow from the installed versions, which requirements.txt pins.
"""

import ast
import hashlib
import json
import sysconfig
import textwrap
from collections.abc import Iterator
from pathlib import Path

DOMAINS = ("docstrings", "code")
# Of their own, large and unlike each other; what is left trains.
HELD_OUT = ("sklearn", "django", "celery", "hypothesis", "botocore", "rest_framework", "pygments", "rich")
FEWEST_CHARACTERS = 700
MOST_CHARACTERS = 12_000
# Of the code to train on one document in so many is kept, so that both domains are of one size.
CODE_KEPT = 3
SKIPPED = ("tests", "test", "testing", "_vendor", "migrations", "locale", "locales")


def packages() -> dict[str, list[Path]]:
    """{top-level package: its Python files, sorted}."""
    root = Path(sysconfig.get_paths()["purelib"])
    found: dict[str, list[Path]] = {}
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).parts
        if not set(parts) & set(SKIPPED):
            found.setdefault(parts[0].removesuffix(".py"), []).append(path)
    return found


def documents(domain: str, held_out: bool) -> Iterator[tuple[str, str]]:
    """(package, text) of one side, each text once."""
    seen = set()
    for package, paths in packages().items():
        if (package in HELD_OUT) != held_out:
            continue
        for path in paths:
            for whole in _texts(path, domain):
                text = whole[:MOST_CHARACTERS]
                digest = hashlib.sha256(text.encode()).digest()
                rare = domain == "code" and not held_out and digest[0] % CODE_KEPT
                if len(text) >= FEWEST_CHARACTERS and digest not in seen and not rare:
                    seen.add(digest)
                    yield package, text


def write(folder: Path) -> dict[str, Path]:
    """`{domain}-{train, held}.jsonl` below the folder, made where missing; {name: path}."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {}
    for domain in DOMAINS:
        for side in ("train", "held"):
            path = files[f"{domain}-{side}"] = folder / f"{domain}-{side}.jsonl"
            if not path.exists():
                part = path.with_suffix(".part")
                with part.open("w", encoding="utf-8") as lines:
                    for package, text in documents(domain, side == "held"):
                        lines.write(json.dumps({"package": package, "text": text}, ensure_ascii=False) + "\n")
                part.rename(path)
    return files


def _texts(path: Path, domain: str) -> Iterator[str]:
    try:
        source = path.read_text(encoding="utf-8")
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, UnicodeDecodeError):
        return
    lines = source.splitlines()
    for node in ast.walk(tree) if domain == "docstrings" else tree.body:
        if domain == "docstrings":
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                text = ast.get_docstring(node)
                if text and text.isascii():
                    yield text
        elif isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = "\n".join(_without_docstrings(node, lines))
            if text.isascii():
                yield textwrap.dedent(text)


def _without_docstrings(node: ast.AST, lines: list[str]) -> list[str]:
    gone: set[int] = set()
    for inner in ast.walk(node):
        body = getattr(inner, "body", None)
        if isinstance(inner, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(inner):
            gone.update(range(body[0].lineno, body[0].end_lineno + 1))  # type: ignore[index]
    return [lines[i - 1] for i in range(node.lineno, node.end_lineno + 1) if i not in gone]  # type: ignore[attr-defined]
