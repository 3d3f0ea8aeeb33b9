"""Pull requests and what happened to them, as the client reads them."""

from datetime import datetime

from hub.hf.shapes.moments import moment
from hub.models import Event, PullRequest, User

STATUS = {"pull.close": "closed", "pull.reopen": "open", "pull.merge": "merged"}
SHAPES = {
    "pull.push": ("commit", {"subject": "message", "oid": "revision"}),
    "pull.title": ("title-change", {"from": "before", "to": "after"}),
}
"""What happened, in the words of the audit log → the client's type, and its names of what is told."""


def short(pull: PullRequest, id: str, type: str) -> dict:
    """One of a list; `type` is models or datasets."""
    return {
        "num": pull.number,
        "title": pull.title,
        "author": _user(pull.author),
        "createdAt": moment(pull.created_at),
        "status": pull.state,
        "isPullRequest": True,
        "repo": {"name": id, "type": type.removesuffix("s")},
        "numComments": 1,
        "pinned": False,
    }


def details(pull: PullRequest, events: list[Event]) -> dict:
    """Its target, where it was merged, and its events: what was written first, then what happened."""
    first = _event(f"{pull.pk:024x}", "comment", pull.created_at, pull.author, _comment(pull.description))
    changes = {"base": f"refs/heads/{pull.target}", "mergeCommitId": pull.merged_as and pull.merged_as.oid}
    return {"events": [first, *map(event, events)], "changes": changes}


def event(row: Event) -> dict:
    """One thing that happened."""
    type, names = SHAPES.get(row.verb, ("status-change", {}))
    data = {name: row.detail.get(key, "") for name, key in names.items()} or {"status": STATUS.get(row.verb)}
    return _event(f"e{row.pk:023x}", type, row.created_at, row.actor, data)


def status_now(pull: PullRequest, events: list[Event]) -> dict:
    """The newest change of its state; of one whose state never changed, its opening."""
    changes = [row for row in events if row.verb in STATUS]
    if changes:
        return event(changes[-1])
    return _event(f"{pull.pk:024x}", "status-change", pull.created_at, pull.author, {"status": pull.state})


def _event(id: str, type: str, at: datetime, author: User | None, data: dict) -> dict:
    return {"id": id, "type": type, "createdAt": moment(at), "author": _user(author), "data": data}


def _user(user: User | None) -> dict:
    return {"name": user.username, "type": "user"} if user else {}


def _comment(text: str) -> dict:
    return {"edited": False, "hidden": False, "latest": {"raw": text, "html": "", "updatedAt": None}, "history": []}
