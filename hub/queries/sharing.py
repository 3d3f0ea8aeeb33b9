"""What others do with a repository: their proposals, and their requests for the files of a gated one."""

from django.db.models import QuerySet

from hub.errors import Invalid, NotFound
from hub.models import AccessRequest, AccessState, Event, PullRequest, PullState, Repository, User

EVENTS = ("pull.push", "pull.title", "pull.close", "pull.reopen", "pull.merge")
"""What happens to a proposal after it was opened, in the words of the audit log."""
ALL = "all"


def pulls(repository: Repository, *, state: str = ALL, author: str = "") -> QuerySet[PullRequest]:
    """A repository's proposals, newest first. `closed` holds the merged ones too. Invalid for another state."""
    found = PullRequest.objects.filter(repository=repository).select_related("author", "closed_by")
    if state not in (ALL, *PullState.values):
        words = ", ".join((*PullState.values, ALL))
        raise Invalid(f"{state!r} is not the state of a proposal; choose one of {words}.", field="state")
    if state == PullState.CLOSED:
        found = found.exclude(state=PullState.OPEN)
    elif state != ALL:
        found = found.filter(state=state)
    if author:
        found = found.filter(author__username__iexact=author)
    return found.order_by("-number")


def pull_events(pull: PullRequest) -> list[Event]:
    """What happened to it after it was opened, in order; what the audit log has let go of is gone here too."""
    rows = Event.objects.filter(repository=pull.repository, verb__in=EVENTS, created_at__gte=pull.created_at)
    return list(rows.filter(detail__number=pull.number).select_related("actor").order_by("pk"))


def access_requests(repository: Repository, state: str | None = None) -> QuerySet[AccessRequest]:
    """A repository's requests, newest first. Invalid for a state that there isn't."""
    if state and state not in AccessState.values:
        words = ", ".join(AccessState.values)
        raise Invalid(f"{state!r} is not the state of a request; choose one of {words}.", field="state")
    found = AccessRequest.objects.filter(repository=repository, user__is_active=True)
    found = found.filter(state=state) if state else found
    return found.select_related("user__namespace", "decided_by").order_by("-created_at", "-pk")


def access_request(repository: Repository, *, user: str = "", pk: int | None = None) -> AccessRequest:
    """The request of a user, by name or by its number. NotFound `access.no_request`."""
    found = access_requests(repository)
    found = found.filter(pk=pk) if pk is not None else found.filter(user__username__iexact=user)
    if (request := found.first()) is None:
        who = f"number {pk}" if pk is not None else f"of {user!r}"
        raise NotFound(f"{repository.full_name} has no request for access {who}.", code="access.no_request")
    return request


def my_access(user: User | None, repository: Repository) -> AccessRequest | None:
    """What became of this user's request, where they have made one."""
    return AccessRequest.objects.filter(repository=repository, user=user).first() if user else None
