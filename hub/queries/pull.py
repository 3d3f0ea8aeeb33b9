"""Proposals as lists, and what happened to one, as the audit log has it."""

from django.db.models import QuerySet

from hub.errors import Invalid
from hub.models import Event, PullRequest, PullState, Repository

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
