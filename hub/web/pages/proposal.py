"""What the pages of proposals show."""

from hub import access, queries
from hub.access import Viewer
from hub.models import PullRequest, PullState, Repository
from hub.services.content.manifest import CARD
from hub.services.sharing import differences

MOST = 200
SAID = {
    "pull.push": "pushed",
    "pull.title": "gave it another title",
    "pull.close": "closed it",
    "pull.reopen": "opened it again",
    "pull.merge": "merged it",
}


def lists(repository: Repository) -> dict:
    """{"open", "closed": proposals, newest first, at most `MOST` each}."""
    found = {"open": queries.pulls(repository, state=PullState.OPEN)}
    found["closed"] = queries.pulls(repository, state=PullState.CLOSED)
    return {word: list(rows[:MOST]) for word, rows in found.items()}


def one(viewer: Viewer, pull: PullRequest) -> dict:
    """A proposal: its files, the card's difference, what the check found, what clashes, what happened, who may what."""
    head, files = differences.of_pull(pull)
    card = next((file for file in files if file.path == CARD), None)
    is_open = pull.state == PullState.OPEN
    may_change = access.may_change(viewer, pull)
    return {
        "pull": pull,
        "head": head,
        "files": files,
        "card_lines": differences.lines(card) if card else None,
        "conflicts": differences.conflicts(pull),
        "events": [{"row": row, "said": SAID[row.verb]} for row in queries.pull_events(pull)],
        "may_merge": is_open and bool(files) and access.may(viewer, pull.repository, "write"),
        "may_close": is_open and may_change,
        "may_reopen": pull.state == PullState.CLOSED and head is not None and may_change,
    }
