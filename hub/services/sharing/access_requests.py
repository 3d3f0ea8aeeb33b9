"""Asking for the files of a gated repository, and deciding on it. What a gate means is `hub.access.gates`'.

A gate that is `auto` lets in whoever asks, so that its admins know who has the files; one that is `manual` waits for an
admin. A user has one request a repository, whose state changes; what is decided can be decided anew.
"""

from django.db import transaction
from django.utils import timezone

from hub.access import Viewer, acting, lets_in
from hub.errors import Conflict, Invalid, NotFound
from hub.models import AccessRequest, AccessState, Gate, Repository, User
from hub.services.audit import record
from hub.services.refs import lock


@transaction.atomic
def ask(*, actor: User, repository: Repository) -> AccessRequest:
    """Ask for the files: let in at once where the gate is auto. Asking again gives the same request.

    Conflict `access.not_needed` where the actor may have them already, `access.rejected` after a refusal.
    """
    repository = lock(repository)
    mine = AccessRequest.objects.filter(repository=repository, user=actor).first()
    if mine and mine.state == AccessState.ACCEPTED:
        return mine
    if lets_in(Viewer(user=actor), repository):
        raise Conflict(
            f"You may have the files of {repository.full_name} already; there is nothing to ask for.",
            code="access.not_needed",
        )
    if mine and mine.state == AccessState.REJECTED:
        raise Conflict(
            f"An admin of {repository.namespace.name} has refused you access to {repository.full_name}; "
            "ask them directly.",
            code="access.rejected",
        )
    if mine is None:
        mine = AccessRequest.objects.create(repository=repository, user=actor)
        record(actor, "access.ask", repository, user=actor.username)
    if repository.gate == Gate.AUTO:
        _set(mine, None, AccessState.ACCEPTED)
        record(actor, "access.accepted", repository, user=actor.username, by="gate")
    return mine


@transaction.atomic
def decide(*, actor: User, repository: Repository, request: AccessRequest, state: str) -> AccessRequest:
    """Accept or reject a request, or have it wait again. Conflict `access.same_state` where it is so already."""
    if state not in AccessState.values:
        words = ", ".join(AccessState.values)
        raise Invalid(f"{state!r} is not a decision on a request for access; choose one of {words}.", field="state")
    repository = lock(repository)
    rows = AccessRequest.objects.select_for_update(of=("self",)).select_related("user__namespace")
    found = rows.filter(pk=request.pk, repository=repository).first()
    if found is None:
        raise NotFound("This request for access is gone.", code="access.no_request")
    if found.state == state:
        raise Conflict(
            f"The request of {found.user.username} for {repository.full_name} is {state} already.",
            code="access.same_state",
        )
    _set(found, actor, state)
    record(actor, f"access.{state}", repository, user=found.user.username)
    return found


@transaction.atomic
def grant(*, actor: User, repository: Repository, user: User) -> AccessRequest:
    """Let a user in who needn't have asked. Conflict where they are in already, or the repository is open to all."""
    repository = lock(repository)
    if repository.gate == Gate.OPEN:
        raise Conflict(
            f"{repository.full_name} is not gated: everyone who sees it may have its files.", code="access.not_gated"
        )
    found = AccessRequest.objects.filter(repository=repository, user=user).first()
    if found is None and lets_in(acting(user), repository):
        raise Conflict(
            f"{user.username} is a member of {repository.namespace.name} and has the files anyway.",
            code="access.not_needed",
        )
    found = found or AccessRequest.objects.create(repository=repository, user=user)
    return decide(actor=actor, repository=repository, request=found, state=AccessState.ACCEPTED)


def _set(request: AccessRequest, by: User | None, state: str) -> None:
    request.state, request.decided_by, request.decided_at = state, by, timezone.now()
    if state == AccessState.PENDING:
        request.decided_by = request.decided_at = None
    request.save(update_fields=["state", "decided_by", "decided_at"])
