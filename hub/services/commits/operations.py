"""What a commit does to a branch's files, one operation after another, and what the branch holds then.

An operation that names what is not there is refused: the committer saw other files. Where a path is deleted and put
in again, the last operation counts.
"""

from bisect import bisect_left, insort
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from hub.errors import Invalid, NotFound
from hub.services.content.manifest import Entry, Manifest

MAX_OPERATIONS = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Put:
    """A file with these bytes; `size` None where the committer names bytes by digest alone."""

    path: str
    sha256: str
    size: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Delete:
    """A file, or all files in a folder; `folder` says that it can't be a file."""

    path: str
    folder: bool = False


Operation = Put | Delete


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """A commit that somebody asks for. `parent` is the id, or its start, of the head that it was made for."""

    summary: str
    description: str = ""
    parent: str | None = None
    operations: Sequence[Operation] = ()

    @property
    def message(self) -> str:
        """The summary, and what else is said."""
        return f"{self.summary}\n\n{self.description}".strip()


@dataclass(slots=True)
class Effect:
    """What the operations come to: `files` put in, `deletions` of paths that were there."""

    files: dict[str, Entry] = field(default_factory=dict)
    deletions: set[str] = field(default_factory=set)


def effect_of(operations: Iterable[Operation], before: Manifest, entries: Mapping[str, Entry]) -> Effect:
    """What `operations` do to `before`; `entries` are the bytes of what is put in, by digest.

    Errors: NotFound `file_not_found` for a deletion of what is not there, Invalid for too many operations.
    """
    found, there = Effect(), sorted(before)
    for count, operation in enumerate(operations):
        if count >= MAX_OPERATIONS:
            raise Invalid(f"A commit may hold at most {MAX_OPERATIONS:,} operations; make several.", field="operations")
        if isinstance(operation, Put):
            if not _has(there, operation.path):
                insort(there, operation.path)
            found.files[operation.path] = entries[operation.sha256]
            continue
        for path in _take_out(there, operation):
            found.files.pop(path, None)
            if path in before:
                found.deletions.add(path)
    found.deletions -= set(found.files)
    return found


def _take_out(there: list[str], operation: Delete) -> list[str]:
    """Take the paths that a deletion means out of those that are `there`, sorted; which they were."""
    path = operation.path.strip("/")
    first, end = bisect_left(there, path), 0
    if _has(there, path) and not operation.folder:
        end = first + 1
    elif path:
        first, end = bisect_left(there, f"{path}/"), bisect_left(there, f"{path}0")  # 0 comes right after the slash
    else:
        end = len(there)
    if first >= end:
        raise NotFound(
            f"A file with this name doesn't exist: {operation.path[:200]!r} can't be deleted.", code="file_not_found"
        )
    gone = there[first:end]
    del there[first:end]
    return gone


def _has(there: list[str], path: str) -> bool:
    at = bisect_left(there, path)
    return at < len(there) and there[at] == path
