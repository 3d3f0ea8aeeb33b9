"""What a proposal changes: files added, changed and removed, as a diff where they are small texts, and what clashes.

The difference is from the branch as it was when the proposal was opened. Whoever may not have a repository's files sees
the card's difference alone.
"""

import difflib
from collections.abc import Iterator
from dataclasses import dataclass

from hub.errors import Conflict
from hub.models import PullRequest, PullState, Revision
from hub.services.content.change import refuse_conflict
from hub.services.content.manifest import CARD, Entry, Manifest, manifest_of
from hub.services.content.publishing import head_of
from hub.services.sharing.pulls import change_to_merge, head_of_pull
from hub.storage import blobs

MOST_BYTES, MOST_LINES = 200_000, 3000
MOST_SHOWN = 1_000_000
"""Bytes of a file's text that is compared, its lines, and the characters of all diffs together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One file: what it was and is; None where it was not or is not there."""

    path: str
    before: Entry | None
    after: Entry | None

    @property
    def word(self) -> str:
        """added, changed or removed."""
        return "added" if self.before is None else "removed" if self.after is None else "changed"


def differences(before: Manifest, after: Manifest) -> list[Difference]:
    """The files that differ, by path."""
    paths = sorted(path for path in {*before, *after} if before.get(path) != after.get(path))
    return [Difference(path=path, before=before.get(path), after=after.get(path)) for path in paths]


def of_pull(pull: PullRequest) -> tuple[Revision | None, list[Difference]]:
    """(what is proposed, the files that it changes); (None, []) where that is forgotten, long after the closing."""
    head = head_of_pull(pull)
    return head, differences(manifest_of(pull.started_from), manifest_of(head)) if head else []


def conflicts(pull: PullRequest) -> list[str]:
    """The paths that others changed on the target since it was opened, so that it can't be merged; [] where it can."""
    if pull.state != PullState.OPEN:
        return []
    try:
        head = head_of(pull.repository, pull.target)
        refuse_conflict(pull.repository, change_to_merge(pull, head_of_pull(pull)), head)
    except Conflict as clash:
        return list(clash.facts.get("paths") or [pull.target])
    return []


def diff(found: list[Difference], *, only_card: bool = False) -> str:
    """The differences as `git diff` writes them; of what is no small text, that it differs."""
    shown, left = [], MOST_SHOWN
    for one in found:
        if only_card and one.path != CARD:
            continue
        text = "\n".join(_of_file(one))
        if len(text) > left:
            text = "\n".join([*_head(one), "The rest of the differences is too long to show."])
            shown.append(text)
            break
        shown.append(text)
        left -= len(text)
    return "".join(f"{text}\n" for text in shown)


def lines(one: Difference) -> list[dict[str, str]] | None:
    """A file's difference for a page: [{"kind": plus, minus, hunk or same, "text"}]; None where it is no text."""
    texts = [_text(entry) for entry in (one.before, one.after)]
    if None in texts:
        return None
    kinds = {"+": "plus", "-": "minus", "@": "hunk"}
    compared = list(difflib.unified_diff(*texts, lineterm=""))[2:]
    return [{"kind": kinds.get(line[:1], "same"), "text": line} for line in compared]


def _of_file(one: Difference) -> Iterator[str]:
    yield from _head(one)
    texts = [_text(entry) for entry in (one.before, one.after)]
    names = [f"a/{one.path}" if one.before else "/dev/null", f"b/{one.path}" if one.after else "/dev/null"]
    if None in texts:
        yield f"Binary files {names[0]} and {names[1]} differ"
        return
    yield from difflib.unified_diff(*texts, *names, lineterm="")


def _head(one: Difference) -> list[str]:
    mode = {"added": ["new file mode 100644"], "removed": ["deleted file mode 100644"]}.get(one.word, [])
    return [f"diff --git a/{one.path} b/{one.path}", *mode]


def _text(entry: Entry | None) -> list[str] | None:
    """The lines of a small text, [] of no file; None of anything else."""
    if entry is None:
        return []
    if entry.size > MOST_BYTES:
        return None
    with blobs.open(entry.sha256) as stream:
        data = stream.read(MOST_BYTES)
    try:
        found = data.decode().split("\n")
    except UnicodeDecodeError:
        return None
    return found if len(found) <= MOST_LINES and "\0" not in data.decode() else None
