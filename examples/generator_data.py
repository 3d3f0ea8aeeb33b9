"""Text to train a generator on: what Python packages say and what they are made of.

    docstrings   of modules, classes and functions
    code         the source of functions and classes, without their docstrings
    readmes      what a package's metadata says of it (of fetched wheels)

The packages are those that `make setup` installs and, where they are asked for, the wheels of generator_packages.txt
(200 MB), which are downloaded and read, never installed. Packages, not documents, are held out: no held-out document
shares its project or boilerplate with the training. Order and content follow from the versions, which are pinned.
"""

import ast
import email
import hashlib
import json
import subprocess
import sys
import sysconfig
import textwrap
import zipfile
from collections.abc import Iterator
from pathlib import Path

DOMAINS = ("docstrings", "code")
# Held out because they are large and unlike each other; the others are trained on.
HELD_OUT = ("sklearn", "django", "celery", "hypothesis", "botocore", "rest_framework", "pygments", "rich")
FEWEST_CHARACTERS = 700
MOST_CHARACTERS = 12_000
# Of the code to train on one document in so many is kept, so that both domains are of one size.
CODE_KEPT = 3
MOST_OF_A_PACKAGE = {"docstrings": 120, "code": 60}
"""Documents, where wheels are read too: no package or domain may be most of the text."""
MOST_SOURCE = 1_000_000
"""Characters of a package that are read for them."""
SKIPPED = {"tests", "test", "testing", "_vendor", "vendor", "migrations", "locale", "locales"}
PACKAGES = Path(__file__).with_name("generator_packages.txt")

Rows = Iterator[tuple[str, str]]


def packages() -> dict[str, list[Path]]:
    """{top-level package: its Python files, sorted}."""
    root = Path(sysconfig.get_paths()["purelib"])
    found: dict[str, list[Path]] = {}
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).parts
        if not set(parts) & SKIPPED:
            found.setdefault(parts[0].removesuffix(".py"), []).append(path)
    return found


def documents(domain: str, held_out: bool) -> Rows:
    """(package, text) of one side, each text once."""
    seen: set[bytes] = set()
    for package, paths in packages().items():
        if (package in HELD_OUT) != held_out:
            continue
        for text in _of_package(_read(paths), domain, seen, rare=domain == "code" and not held_out):
            yield package, text


def write(folder: Path) -> dict[str, Path]:
    """`{domain}-{train, held}.jsonl` below the folder, made where missing; {name: path}."""
    files = {}
    for domain in DOMAINS:
        for side in ("train", "held"):
            files[f"{domain}-{side}"] = _written(folder / f"{domain}-{side}.jsonl", documents(domain, side == "held"))
    return files


def write_wide(folder: Path, wheels: Path) -> list[Path]:
    """Files to train on, of the installed packages and of the wheels, which are fetched where they are missing."""
    fetch(wheels)
    made = [_written(folder / f"wide-{domain}.jsonl", wide(domain, wheels)) for domain in DOMAINS]
    return [*made, _written(folder / "wide-readmes.jsonl", readmes(wheels))]


def fetch(wheels: Path) -> None:
    """The wheels of generator_packages.txt, below the folder."""
    wanted = [line for line in PACKAGES.read_text().splitlines() if line and not line.startswith("#")]
    if len(list(wheels.glob("*.whl"))) < len(wanted):
        print(f"fetching {len(wanted)} wheels into {wheels}", flush=True)
        options = ["--quiet", "--no-deps", "--only-binary=:all:", "--dest", str(wheels)]
        subprocess.run([sys.executable, "-m", "pip", "download", *options, "-r", str(PACKAGES)], check=True)


def wide(domain: str, wheels: Path) -> Rows:
    """(package, text) of installed and fetched packages: a bounded number of each, from some of its files."""
    seen: set[bytes] = set()
    left: dict[str, int] = {}  # of a package, which may be installed and fetched
    for package, sources in _all_sources(wheels):
        texts = sorted(_of_package(_bounded(sources), domain, seen), key=_digest)
        chosen = texts[: left.setdefault(package, MOST_OF_A_PACKAGE[domain])]
        left[package] -= len(chosen)
        yield from ((package, text) for text in chosen)


def readmes(wheels: Path) -> Rows:
    """(package, what its metadata says at length)."""
    for path in sorted(wheels.glob("*.whl")):
        with zipfile.ZipFile(path) as wheel:
            name = next(n for n in wheel.namelist() if n.endswith(".dist-info/METADATA"))
            said = email.message_from_bytes(wheel.read(name)).get_payload()
        text = str(said).strip()[:MOST_CHARACTERS]
        if len(text) >= FEWEST_CHARACTERS:
            yield path.name.partition("-")[0].lower(), text


def _written(path: Path, rows: Rows) -> Path:
    """The file, with the rows in it where it was missing; they are made only then."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        with part.open("w", encoding="utf-8") as lines:
            for package, text in rows:
                lines.write(json.dumps({"package": package, "text": text}, ensure_ascii=False) + "\n")
        part.rename(path)
    return path


def _all_sources(wheels: Path) -> Iterator[tuple[str, Iterator[str]]]:
    """(package, its files' text, mixed but always in one order) of installed packages to train on, then of wheels."""
    for package, paths in packages().items():
        if package not in HELD_OUT:
            yield package, _read(sorted(paths, key=lambda path: _digest(path.name)))
    for path in sorted(wheels.glob("*.whl")):
        yield path.name.partition("-")[0].lower(), _read_wheel(path)


def _read(paths: list[Path]) -> Iterator[str]:
    for path in paths:
        try:
            yield path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue


def _read_wheel(path: Path) -> Iterator[str]:
    with zipfile.ZipFile(path) as wheel:
        for name in sorted(wheel.namelist(), key=_digest):
            if name.endswith(".py") and not set(name.split("/")) & SKIPPED:
                try:
                    yield wheel.read(name).decode()
                except UnicodeDecodeError:
                    continue


def _of_package(sources: Iterator[str], domain: str, seen: set[bytes], *, rare: bool = False) -> Iterator[str]:
    """Its texts that are long enough and were not seen before; of rare ones one in `CODE_KEPT`."""
    for source in sources:
        for whole in _texts(source, domain):
            text = whole[:MOST_CHARACTERS]
            digest = _digest(text)
            if len(text) >= FEWEST_CHARACTERS and digest not in seen and not (rare and digest[0] % CODE_KEPT):
                seen.add(digest)
                yield text


def _bounded(sources: Iterator[str]) -> Iterator[str]:
    """Of them the first, `MOST_SOURCE` characters and the one that goes beyond."""
    left = MOST_SOURCE
    for source in sources:
        yield source
        left -= len(source)
        if left < 0:
            return


def _digest(item: object) -> bytes:
    return hashlib.sha256(str(item).encode()).digest()


def _texts(source: str, domain: str) -> Iterator[str]:
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError):
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
