"""What a commit does to a branch's files, one operation after another, and what the branch holds then.

An operation that names what is not there is refused: the committer saw other files. Where a path is deleted and put
in again, the last operation counts.
"""

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
    found = Effect()
    for count, operation in enumerate(operations):
        if count >= MAX_OPERATIONS:
            raise Invalid(f"A commit may hold at most {MAX_OPERATIONS:,} operations; make several.", field="operations")
        if isinstance(operation, Put):
            found.files[operation.path] = entries[operation.sha256]
            continue
        for path in _named(operation, {*before, *found.files} - found.deletions | set(found.files)):
            found.files.pop(path, None)
            if path in before:
                found.deletions.add(path)
    found.deletions -= set(found.files)
    return found


def _named(operation: Delete, there: set[str]) -> list[str]:
    """The paths that a deletion means."""
    path = operation.path.strip("/")
    if path in there and not operation.folder:
        return [path]
    inside = [other for other in there if not path or other.startswith(f"{path}/")]
    if not inside:
        raise NotFound(
            f"A file with this name doesn't exist: {operation.path[:200]!r} can't be deleted.", code="file_not_found"
        )
    return inside
