"""Requests for the files of gated repositories, for their admins and for who asked."""

from django.db.models import QuerySet

from hub.errors import Invalid, NotFound
from hub.models import AccessRequest, AccessState, Repository, User


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
