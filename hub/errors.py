"""What the hub refuses, as one tree: each error knows its HTTP status, a stable code, and a sentence to act on."""

import logging
import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from django.core.exceptions import ObjectDoesNotExist
from django.db import DatabaseError, IntegrityError
from django.db.models import ProtectedError
from django.http import HttpRequest

from composition.errors import CompositionError

log = logging.getLogger(__name__)


class HubError(Exception):
    """A refusal: what was given, what was expected, what to do. `facts` go to programs, `headers` into the answer."""

    status = 400
    code = "bad_request"

    def __init__(self, message: str, *, code: str | None = None, **facts: object) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.code
        self.facts = facts
        self.headers: dict[str, str] = {}


class NotSignedIn(HubError):
    """No one is signed in, and this needs a user."""

    status, code = 401, "not_signed_in"


class PermissionDenied(HubError):
    """The user may see it, but not do this with it."""

    status, code = 403, "permission_denied"


class NotFound(HubError):
    """Missing or invisible: the two are never told apart."""

    status, code = 404, "not_found"


class Renamed(HubError):
    """It has another name now, which the asker may know: `before` and `after` are paths as `ns/name`."""

    status, code = 307, "repository.renamed"

    def __init__(self, before: str, after: str) -> None:
        super().__init__(f"{before} is called {after} now; use that name.", before=before, after=after)

    def way_on(self, request: HttpRequest) -> str:
        """The address of the request with the name of today, relative to the host, so that clients keep their token."""
        raw, query = request.META.get("hub.raw_path"), request.META.get("QUERY_STRING", "")
        address = f"{raw}?{query}".removesuffix("?") if raw else request.get_full_path()
        here = re.compile(rf"/{re.escape(self.facts['before'])}(?=[/.?]|$)", re.IGNORECASE)
        after = f"/{self.facts['after']}"
        return here.sub(lambda _: after, address, count=1) if here.search(address) else after


class TooManyTries(HubError):
    """Come back later: `wait` is in seconds. `untold` says that no one has noted it yet, see `signing_in.throttle`."""

    status, code = 429, "throttled"

    def __init__(self, wait: float, *, untold: bool = False) -> None:
        self.seconds = max(1, math.ceil(wait))
        self.untold = untold
        super().__init__(f"There were too many tries. Try again in {_in_words(self.seconds)}.", wait=self.seconds)
        self.headers["Retry-After"] = str(self.seconds)


class Conflict(HubError):
    """The request conflicts with something that exists already."""

    status, code = 409, "conflict"


class QuotaExceeded(HubError):
    """Within the user's rights, but more than their or the namespace's share; `quota.NAME` says of what."""

    status, code = 409, "quota"


class TooMany(HubError):
    """More of it within a span of time than is taken; the header Retry-After says when it is again."""

    status, code = 429, "too_many"


class DiskFull(HubError):
    """The hub has no room to write. Reading and deleting go on."""

    status, code = 507, "disk.full"


class Invalid(HubError):
    """A value that can't be used; `field` names it where there is one."""

    status, code = 422, "invalid"


class Busy(HubError):
    """The hub does as much of this as it can at the moment; the same request is fine in `seconds`."""

    status, code = 503, "busy"

    def __init__(self, message: str, *, seconds: float, **facts: object) -> None:
        super().__init__(message, **facts)
        self.headers["Retry-After"] = str(math.ceil(seconds))


NAMED = 5
"""Files that the sentence on several names."""


@contextmanager
def collecting(problems: list[Exception]) -> Iterator[None]:
    """Note what is refused in the block, and go on."""
    try:
        yield
    except (CompositionError, Invalid) as problem:
        problems.append(problem)


def refuse_all(problems: Sequence[CompositionError | Invalid]) -> None:
    """Raise nothing, the only problem, or the first one with all as its fact `problems` [{code, path, message}].

    A file is named once, by the first problem that it has.
    """
    rows: dict[str, dict[str, object]] = {}
    for problem in problems:
        path = _file_of(problem)
        row = {"path": path, "code": problem.code, "message": problem.message}
        command = {"command": problem.facts["command"]} if "command" in problem.facts else {}
        rows.setdefault(path or f"{len(rows)}", row | command)
    if not problems:
        return
    first = problems[0]
    if len(rows) == 1:
        raise first
    facts = {**first.facts, "problems": list(rows.values())}
    named = ", ".join(row["path"] or "?" for row in list(rows.values())[:NAMED])
    more = f" and {len(rows) - NAMED} more" if len(rows) > NAMED else ""
    said = f"{len(rows)} files can't be stored here: {named}{more}."
    if isinstance(first, CompositionError):
        raise CompositionError(first.code, said, **facts)
    raise Invalid(said, code=first.code, **facts)


def _file_of(problem: CompositionError | Invalid) -> str | None:
    """The file it is about; of two that can't be together, the second."""
    found = problem.facts.get("file") or problem.facts.get("path")
    return found or next(reversed(problem.facts.get("files", ())), None)


def _in_words(seconds: int) -> str:
    """`1 second`, `40 seconds`, `3 minutes`: rounded up."""
    count, unit = (seconds, "second") if seconds < 60 else (math.ceil(seconds / 60), "minute")
    return f"{count} {unit}{'' if count == 1 else 's'}"


TAKEN = "Somebody else made or changed the same thing at this moment. Look at it as it is now, and try again."
GONE = (
    "Something that this needs was deleted at this moment, or something new needs what this deletes. Look at it as it "
    "is now, and try again."
)


def conflict_of(error: BaseException) -> Conflict | None:
    """The refusal that an error of the database stands for, where another's change at the same moment is behind it."""
    if is_taken(error):
        return Conflict(TAKEN)
    if is_gone(error):
        log.warning("refused, as a row was deleted or needed at the same moment", exc_info=error)
        return Conflict(GONE)
    return None


def is_taken(error: BaseException) -> bool:
    """True for a unique key that the database refused: two made the same thing at once, which is nobody's fault.

    Services that know what was made twice say so themselves; this is for the rest. Other broken constraints are ours.
    """
    code = getattr(error.__cause__, "sqlstate", "")  # PostgreSQL's unique_violation
    return isinstance(error, IntegrityError) and (code == "23505" or "UNIQUE constraint failed" in str(error))


def is_gone(error: BaseException) -> bool:
    """True where a row refers to one that another deleted meanwhile, or was itself deleted while it was being changed.

    PostgreSQL finds the first at the commit: both transactions were right until then, and the second try of either
    sees what the other did.
    """
    if isinstance(error, ProtectedError):
        return True
    if isinstance(error, IntegrityError):
        code = getattr(error.__cause__, "sqlstate", "")  # PostgreSQL's foreign_key_violation
        return code == "23503" or "FOREIGN KEY constraint failed" in str(error)
    if isinstance(error, ObjectDoesNotExist):
        # A missing one-to-one row, which is an AttributeError as well, is a mistake of ours.
        return not isinstance(error, AttributeError)
    return isinstance(error, DatabaseError) and "did not affect any rows" in str(error)
