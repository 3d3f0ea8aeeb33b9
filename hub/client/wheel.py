"""A wheel of `hubctl`, written from the source tree by what `pyproject.toml` says of it.

A pure-Python wheel is a zip file: the modules, and a `.dist-info` folder with METADATA, WHEEL, entry_points.txt and
RECORD (the binary distribution format of packaging.python.org). Nothing is compressed and no clock is read, so the same
tree gives the same bytes on every machine. Needs no network, no build tool and no temporary folder.

The version has the digest of what is inside as its local part, `0.1.0+h1a2b3c4d`: pip leaves an installed package alone
while its version is the same, and a hub that is updated in place serves another client under the same number.
"""

import base64
import hashlib
import io
import re
import tomllib
import zipfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from django.conf import settings

EARLIEST = (1980, 1, 1, 0, 0, 0)
"""The first moment a zip file can name."""


@dataclass(frozen=True, slots=True)
class Wheel:
    """The file and what an index says of it; `data` are its bytes, `project` its normalised name."""

    project: str
    version: str
    filename: str
    requires_python: str
    dependencies: tuple[str, ...]
    data: bytes
    sha256: str


@cache
def wheel() -> Wheel:
    """The client of the running hub, built once a process."""
    return build(Path(settings.ROOT))


def build(root: Path) -> Wheel:
    """The wheel of the tree at `root`: the modules of the packages that its pyproject.toml lists, links followed."""
    declared = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))
    project = declared["project"]
    files = {
        f"{package.replace('.', '/')}/{path.name}": path.read_bytes()
        for package in sorted(declared["tool"]["setuptools"]["packages"])
        for path in sorted((root / package.replace(".", "/")).glob("*.py"))
    }
    inside = "\n".join([_record(files), _metadata(project, ""), _entry_points(project)])
    version = f"{project['version']}+h{hashlib.sha256(inside.encode()).hexdigest()[:8]}"
    name = re.sub(r"[-_.]+", "_", project["name"]).lower()
    info = f"{name}-{version}.dist-info"
    files |= {
        f"{info}/METADATA": _metadata(project, version).encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: adapter-hub\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": _entry_points(project).encode(),
    }
    files[f"{info}/RECORD"] = f"{_record(files)}\n{info}/RECORD,,\n".encode()
    data = _zipped(files)
    return Wheel(
        project=name.replace("_", "-"),
        version=version,
        filename=f"{name}-{version}-py3-none-any.whl",
        requires_python=project["requires-python"],
        dependencies=tuple(project["dependencies"]),
        data=data,
        sha256=hashlib.sha256(data).hexdigest(),
    )


def _metadata(project: dict[str, Any], version: str) -> str:
    """Core metadata 2.1; `version` "" leaves its value out."""
    rows = [("Metadata-Version", "2.1"), ("Name", project["name"]), ("Version", version)]
    rows += [("Summary", project["description"]), ("Requires-Python", project["requires-python"])]
    rows += [("Requires-Dist", needed) for needed in project["dependencies"]]
    for extra, needs in project.get("optional-dependencies", {}).items():
        rows.append(("Provides-Extra", extra))
        rows += [("Requires-Dist", f'{needed}; extra == "{extra}"') for needed in needs]
    return "".join(f"{name}: {value}\n" for name, value in rows)


def _entry_points(project: dict[str, Any]) -> str:
    groups = {"console_scripts": project.get("scripts", {}), **project.get("entry-points", {})}
    sections = [
        "\n".join([f"[{group}]", *(f"{name} = {target}" for name, target in sorted(points.items()))])
        for group, points in groups.items()
    ]
    return "\n\n".join(sections) + "\n"


def _record(files: dict[str, bytes]) -> str:
    """One line a file: path, digest, size."""
    digests = {path: hashlib.sha256(data).digest() for path, data in files.items()}
    encoded = {path: base64.urlsafe_b64encode(digest).decode().rstrip("=") for path, digest in digests.items()}
    return "\n".join(f"{path},sha256={encoded[path]},{len(data)}" for path, data in files.items())


def _zipped(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for path, data in files.items():
            entry = zipfile.ZipInfo(path, EARLIEST)
            entry.create_system = 3  # Unix, whatever system writes it
            entry.external_attr = 0o100644 << 16
            archive.writestr(entry, data)
    return out.getvalue()
