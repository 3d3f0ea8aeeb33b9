"""Local data: told apart from names of datasets, and pushed beside a result as a private dataset."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from hubctl.errors import Refused

if TYPE_CHECKING:
    from hubctl.client import Hub

COMPANION = "companion:"


def lies_here(source: str) -> bool:
    """Whether a source is a local file and not a dataset of the hub: the file exists, or its ending says so."""
    return source.endswith(".jsonl") or Path(source).is_file()


def file_here(file: str | Path) -> Path:
    """The path of a local file; Refused where there is none."""
    path = Path(file)
    if not path.is_file():
        raise Refused(f"no such file here: {file}")
    return path


def text_of(file: str | Path) -> str:
    """A local file as UTF-8 text, for a job's `files`."""
    try:
        return file_here(file).read_bytes().decode("utf-8")
    except UnicodeDecodeError:
        raise Refused(f"{file} is not UTF-8 text; save it as JSONL in UTF-8.") from None


def text_or_companion(source: str) -> str | dict[str, str]:
    """A private input of a job: the text of a local file, or `companion:NAME`, one that is kept beside the adapter."""
    kept = source.removeprefix(COMPANION) if source.startswith(COMPANION) else ""
    return {"companion": kept} if kept else text_of(source)


def push_rows(hub: "Hub", rows: Path, name: str, split: str = "train") -> str:
    """Push a JSONL file as the only split of the private dataset `name`; returns `datasets/ns/name@vN`, its version."""
    pushed: dict[str, Any] = hub.push({f"{split}.jsonl": rows}, name, kind="dataset", private=True)
    path = pushed["repository"]
    return f"{path}@{pushed['version']}" if pushed["version"] else path
