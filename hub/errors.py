"""What the hub refuses, as one tree: each error knows its HTTP status, a stable code, and a sentence to act on."""


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
