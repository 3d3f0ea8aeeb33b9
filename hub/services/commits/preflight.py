"""Before a commit: how each file is to be sent, what is there of it already, and what should not be pushed at all.

Files that could never be stored are refused here, by name, size and first bytes, before gigabytes are on their way.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from django.conf import settings

from composition.formats.content import check_path, sniff
from composition.formats.folder_rules import left_out
from hub.errors import Invalid, collecting, refuse_all
from hub.models import Repository
from hub.services.commits.attributes import parse, stored_as_lfs
from hub.services.content import pointers
from hub.services.content.manifest import BlobSource, manifest_of, read_whole
from hub.services.content.publishing import head_of

HIDDEN = "hidden files"
"""The row of `folder_rules` that holds for folders: a hidden file that somebody names is pushed."""
GITIGNORE = ".gitignore"
MAX_IGNORE = 64_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Offered:
    """A file that a client wants to push: its size in bytes, and its first bytes where they were sent."""

    path: str
    size: int
    head: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """How to send a file. `oid` is git's id (of LFS: the SHA-256) of what is there now; `left_out` says what it is
    that should not be pushed."""

    path: str
    is_lfs: bool
    oid: str | None
    left_out: str = ""


def answers(repository: Repository, branch: str, files: Sequence[Offered], ignore: str = "") -> list[Answer]:
    """An answer for each file, in order; `ignore` is a `.gitignore`, without one the branch's own.

    Raises CompositionError or Invalid for the files.
    The `.gitattributes` of the branch that is committed to decides what is LFS, not one that is among the files.
    """
    manifest = manifest_of(head_of(repository, branch))
    attributes = pointers.attributes_of(manifest)
    if not ignore and GITIGNORE in manifest:
        ignore = read_whole(BlobSource(manifest[GITIGNORE]), MAX_IGNORE).decode("utf-8", "replace")
    ignored = parse(_as_attributes(ignore))
    words = {file.path: _left_out(file.path) or ("ignored" if ignored.is_lfs(file.path) else "") for file in files}
    _refuse([file for file in files if not words[file.path]])
    there = {file.path: manifest[file.path] for file in files if file.path in manifest}
    git = pointers.git_files(there, attributes)
    return [
        Answer(
            path=file.path,
            is_lfs=stored_as_lfs(file.path, file.size, attributes),
            oid=git[file.path].etag if file.path in git else None,
            left_out=words[file.path],
        )
        for file in files
    ]


def _refuse(files: Collection[Offered]) -> None:
    paths, problems = {file.path for file in files}, []
    for file in files:
        with collecting(problems):
            check_path(file.path)
            sniff(file.path, file.head, size=file.size, beside=paths)
            if file.size > settings.MAX_FILE_BYTES:
                raise Invalid(
                    f"{file.path} has {file.size:,} bytes; this hub takes files of at most "
                    f"{settings.MAX_FILE_BYTES:,}.",
                    code="upload.too_large",
                    path=file.path,
                    limit=settings.MAX_FILE_BYTES,
                )
    refuse_all(problems)


def _left_out(path: str) -> str:
    found = left_out(path)
    return found[1] if found and found[1] != HIDDEN else ""


def _as_attributes(ignore: str) -> bytes:
    """A `.gitignore` in the language of attributes: a folder's pattern is for all that is in it."""
    lines = []
    for line in ignore[:MAX_IGNORE].splitlines():
        pattern, filter = (line.strip()[1:], "-filter") if line.startswith("!") else (line.strip(), "filter=lfs")
        if not pattern or pattern.startswith("#") or " " in pattern:
            continue
        anchored = "/" in pattern.rstrip("/")
        inside = pattern.rstrip("/").lstrip("/") if anchored else f"**/{pattern.rstrip('/')}"
        lines += [] if pattern.endswith("/") else [f"{pattern} {filter}"]
        lines.append(f"{inside}/** {filter}")
    return "\n".join(lines).encode()
