"""A change of a branch: which files go on, which come off, and what it was made for; and when two of them clash."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from composition.formats import FORMATS
from hub.errors import Conflict
from hub.models import RefKind, Repository, Revision
from hub.names import PULL, check_ref
from hub.services.content.manifest import Entry, manifest_of

MAIN = "main"
# `since` of a publish that takes the branch as it finds it.
ANY = object()


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What to do to a branch: put `files` in, take `deletions` out, or with `replace` keep nothing but `files`."""

    files: dict[str, Entry]
    deletions: frozenset[str]
    replace: bool
    branch: str
    since: Revision | object | None = ANY

    def touches(self, path: str) -> bool:
        """True if this change decides what is at `path`."""
        return self.replace or path in self.files or path in self.deletions


def kind_of_ref(branch: str) -> str:
    """What a change moves: a branch, or for `refs/pr/N` what a pull request proposes."""
    return RefKind.PULL if PULL.fullmatch(branch) else RefKind.BRANCH


def change_of(
    *,
    files: Mapping[str, tuple[str, int]],
    deletions: Collection[str] = (),
    replace: bool = False,
    branch: str = MAIN,
    since: Revision | object | None = ANY,
) -> Change:
    """The change these arguments of `publish` ask for; `branch` may be `refs/pr/N`, what a pull request proposes."""
    if branch != MAIN and not PULL.fullmatch(branch):
        check_ref(branch)
    entries = {path: Entry(*entry) for path, entry in files.items()}
    return Change(files=entries, deletions=frozenset(deletions), replace=replace, branch=branch, since=since)


def refuse_conflict(repository: Repository, change: Change, head: Revision | None) -> None:
    """A change rebases onto what others pushed since, unless both touch a file, or both touch the content.

    Weights and config count as one: one person's alpha with another's matrices would be a silent wrong answer.
    """
    if change.since is ANY or change.since == head:
        return
    then, now = manifest_of(change.since), manifest_of(head)
    theirs = {path for path in {*then, *now} if then.get(path) != now.get(path)}
    ours = {path for path in theirs if change.touches(path) and change.files.get(path) != now.get(path)}
    touched = {*theirs, *change.files, *change.deletions}
    content = {path for path in touched if FORMATS.may_be_content(repository.kind, path)}
    if content & theirs and any(change.files.get(path) != now.get(path) for path in content - theirs):
        ours |= content & theirs
    if ours:
        raise Conflict(
            f"Someone else changed {', '.join(sorted(ours)[:3])} on {change.branch} of {repository.path} while "
            "this push was under way. Look at the new files, and push again if yours should replace them.",
            code="branch.moved",
            paths=sorted(ours),
            head=head.oid if head else None,
        )
