"""Deactivating and deleting accounts, by their users or by an administrator."""

from django.db import transaction

from hub.errors import Conflict
from hub.models import Event, Job, Membership, Namespace, Repository, Role, Upload, User
from hub.services import mail
from hub.services.audit import record
from hub.services.content.uploads import abandon_upload
from hub.services.jobs.queue import CANCELLABLE, cancel_job
from hub.services.signing_in.sessions import end_everything
from hub.services.upkeep.purge import cut_loose

# A list in a refusal names this many.
MOST_NAMED = 10


@transaction.atomic
def deactivate_user(*, actor: User, user: User) -> None:
    """The user can't sign in, and their sessions, tokens and jobs end; what they made stays.

    An administrator can undo it. Conflict for the last active administrator of the site.
    """
    keep_an_administrator(user)
    User.objects.filter(pk=user.pk).update(is_active=False)
    user.is_active = False
    record(actor, "user.deactivate", user.username)
    end_everything(actor=actor, user=user)
    _cancel_jobs(actor, user)
    mail.notify(user, "deactivated")


@transaction.atomic
def reactivate_user(*, actor: User, user: User) -> None:
    """Let the user sign in again. Their sessions and tokens stay ended."""
    User.objects.filter(pk=user.pk).update(is_active=True)
    user.is_active = True
    record(actor, "user.reactivate", user.username)


@transaction.atomic
def delete_user(*, actor: User, user: User) -> None:
    """Delete the account with its own, empty namespace and its jobs' ownership; what they made elsewhere stays.

    Conflict lists all that stands in the way: see `obstacles`.
    """
    keep_an_administrator(user)
    if found := obstacles(user):
        raise Conflict(
            f"{user.username} can't be deleted yet. " + " ".join(found), code="user.not_free", obstacles=found
        )
    _cancel_jobs(actor, user)
    for upload in Upload.objects.filter(user=user).select_related("repository__namespace"):
        abandon_upload(actor=actor, upload=upload)
    for namespace in _alone_in(user):
        record(actor, "organisation.delete", namespace.name)
        cut_loose(namespace)
        namespace.delete()
    mail.notify(user, "deleted")
    record(actor, "user.delete", user.username)
    Event.objects.filter(actor=user).update(actor_name=user.username)
    for namespace in Namespace.objects.filter(owner=user):
        cut_loose(namespace)
    user.delete()


def obstacles(user: User) -> list[str]:
    """What must be done before this account can be deleted, one sentence each."""
    found = []
    own = Repository.objects.filter(namespace__owner=user, purged_at=None).select_related("namespace")
    living, gone = own.filter(deleted_at=None), own.exclude(deleted_at=None)
    if living.exists():
        found.append(f"Their namespace holds {_named(living)}: delete these first; `hubctl pull` keeps a copy.")
    if gone.exists():
        found.append(f"The trash holds {_named(gone)}: delete these for good first, on the page Trash.")
    for namespace in _only_admin_of(user):
        found.append(f"They are the last admin of {namespace.name}: make another member admin there first.")
    return found


def keep_an_administrator(user: User) -> None:
    """Conflict for the last active administrator of the site; of two who leave at once the second waits here."""
    staff = User.objects.select_for_update().filter(is_staff=True, is_active=True).order_by("pk")
    if {row.pk for row in staff} == {user.pk}:
        raise Conflict(
            f"{user.username} is the last administrator of this hub; make another user administrator first.",
            code="user.last_administrator",
        )


def _only_admin_of(user: User) -> list[Namespace]:
    """The organisations that would be left without an admin though they have other members, or repositories."""
    return [place for place in _without_another_admin(user) if not _is_empty_without(place, user)]


def _alone_in(user: User) -> list[Namespace]:
    """The organisations that hold nothing and nobody else; they go with the account."""
    return [place for place in _without_another_admin(user) if _is_empty_without(place, user)]


def _without_another_admin(user: User) -> list[Namespace]:
    mine = Namespace.objects.filter(owner=None, memberships__user=user, memberships__role=Role.ADMIN)
    # The rows are locked, so that two admins can't leave at the same moment, each counting on the other.
    admins = Membership.objects.select_for_update().filter(namespace__in=mine, role=Role.ADMIN, user__is_active=True)
    others = {row.namespace_id for row in admins if row.user_id != user.pk}
    return list(mine.exclude(pk__in=others).order_by("name"))


def _is_empty_without(namespace: Namespace, user: User) -> bool:
    others = namespace.memberships.exclude(user=user)
    return not others.exists() and not namespace.repositories.filter(purged_at=None).exists()


def _named(repositories) -> str:
    names = [repository.path for repository in repositories.order_by("name")[: MOST_NAMED + 1]]
    more = repositories.count() - MOST_NAMED
    return ", ".join(names[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def _cancel_jobs(actor: User, user: User) -> None:
    """Cancel what can be cancelled. What is being saved ends by itself, or is refused where its owner is gone."""
    for job in Job.objects.filter(created_by=user, state__in=CANCELLABLE):
        try:
            cancel_job(actor=actor, job=job)
        except Conflict:
            continue


def _record_own_end(name: str) -> None:
    """Note that a user deleted their own account; the event names them in words only."""
    record(None, "user.delete", name)
    Event.objects.filter(verb="user.delete", object=name, actor=None, actor_name=None).update(actor_name=name)
