"""What can go wrong for a user of the client, and the exit code each kind ends with.

0 done · 1 the hub refused, or something here can't be used · 2 wrong usage (click) · 3 not signed in, or not allowed ·
4 not found · 5 the job failed or was cancelled · 6 the hub can't be reached · 130 stopped by Ctrl-C.
"""

from typing import Any

EXIT_CODES = {
    0: "done",
    1: "refused by the hub, or a file or value here can't be used",
    2: "wrong usage of the command",
    3: "not signed in, or not allowed",
    4: "not found",
    5: "the job failed or was cancelled",
    6: "the hub can't be reached",
}


class HubctlError(Exception):
    """A sentence for the user, with the exit code of its kind. `facts` is what the hub told programs."""

    exit_code = 1

    def __init__(self, message: str, *, code: str = "", **facts: Any) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.facts = facts

    def to_dict(self) -> dict[str, Any]:
        """JSON form for `--json`."""
        return {**self.facts, "code": self.code, "message": self.message, "exit_code": self.exit_code}


class Refused(HubctlError):
    """The hub answered no, or something given here can't be used."""


class Forbidden(HubctlError):
    """No one is signed in, or the user may not do this."""

    exit_code = 3


class NotFound(HubctlError):
    """The hub has no such thing, or none that the user may see."""

    exit_code = 4


class JobEnded(HubctlError):
    """A job that was waited for ended without a result; `facts["job"]` is the job."""

    exit_code = 5


class Unreachable(HubctlError):
    """No answer from the hub after the retries."""

    exit_code = 6


class Away(Unreachable):
    """The hub, or a part that it needs, can't answer now and says that it will; `retry_after` in seconds, as text."""

    retry_after: str | None = None


def from_problem(status: int, body: Any, url: str) -> HubctlError:
    """The error for an answer of 400 or above; `body` is the parsed application/problem+json where there is one."""
    problem = body if isinstance(body, dict) else {}
    detail = str(problem.get("detail") or problem.get("title") or f"the hub answered {status} for {url}")
    facts = {key: value for key, value in problem.items() if key not in ("type", "title", "detail", "code")}
    if str(facts.get("page", "")).startswith("/"):
        # The hub names a page of its own that mends it, by its path.
        facts["page"] = url.partition("/api/")[0] + facts["page"]
    kinds = {401: Forbidden, 403: Forbidden, 404: NotFound, 502: Away, 503: Away, 504: Away}
    kind = kinds.get(status, Refused)
    if status >= 500 and not problem:
        detail = f"the hub failed with {status} for {url}; its log says why"
    facts["status"] = status
    return kind(detail, code=str(problem.get("code") or status), **facts)
