"""What administrators of the site do to accounts and jobs. Each act is on the record under `admin.`, with its reason.

Who may is asked where the request comes in, by `access.require_site_admin`.
"""

from collections.abc import Mapping

from django.db import transaction

from hub.errors import Conflict, Invalid
from hub.models import Job, Namespace, User
from hub.queries.quota import LIMITS
from hub.services import leaving, quotas
from hub.services.audit import record
from hub.services.jobs.queue import cancel_job, set_priority
from hub.services.signing_in import resets

MAX_REASON = 300


@transaction.atomic
def set_limits(*, actor: User, subject: Namespace | User, limits: Mapping[str, int | None], reason: str = "") -> None:
    """Limits of a namespace or user in place of the settings'; 0 is none, None takes the settings' again."""
    if not limits:
        return
    key = {"namespace": subject} if isinstance(subject, Namespace) else {"user": subject}
    unknown = [name for name in limits if name not in LIMITS]
    if unknown:
        raise Invalid(f"{unknown[0][:100]!r} is not a limit; choose from {', '.join(LIMITS)}.", field="limits")
    quotas.set_quota(actor=actor, **key, **limits)
    _record(actor, "admin.quota", str(subject), reason)


@transaction.atomic
def set_administrator(*, actor: User | None, user: User, administrator: bool, reason: str = "") -> User:
    """Make `user` an administrator of the site, or a user like others; the last active one stays.

    Once given by hand it stays, also where a group had given it before and they leave that group.
    """
    if not administrator:
        leaving.keep_an_administrator(user)
    user = User.objects.select_for_update().get(pk=user.pk)
    if user.is_staff == administrator and not user.staff_by_group:
        return user
    if administrator and not user.is_active:
        raise Conflict(f"{user.username} is suspended; reactivate the account first.")
    user.is_staff, user.staff_by_group = administrator, False
    user.save(update_fields=["is_staff", "staff_by_group"])
    _record(actor, "admin.grant" if administrator else "admin.revoke", user.username, reason)
    return user


@transaction.atomic
def suspend_user(*, actor: User, user: User, reason: str = "") -> None:
    """Nobody signs in with the account, and its tokens, sessions and unfinished jobs end. What it made stays."""
    if user.is_active:
        leaving.deactivate_user(actor=actor, user=user)
        _record(actor, "admin.suspend", user.username, reason)


@transaction.atomic
def reactivate_user(*, actor: User, user: User, reason: str = "") -> None:
    """Let a suspended account sign in again; its old tokens and sessions stay ended."""
    if not user.is_active:
        leaving.reactivate_user(actor=actor, user=user)
        _record(actor, "admin.reactivate", user.username, reason)


@transaction.atomic
def change_account(
    *, actor: User, user: User, active: bool | None = None, administrator: bool | None = None, reason: str = ""
) -> None:
    """Several of these at once, or none of them; None leaves as it is."""
    asked = {"actor": actor, "user": user, "reason": reason}
    if active is not None:
        (reactivate_user if active else suspend_user)(**asked)
    if administrator is not None:
        set_administrator(**asked, administrator=administrator)


@transaction.atomic
def reset_link(*, actor: User, user: User, reason: str = "") -> str:
    """The address of a page where `user` sets a new password, once, within PASSWORD_RESET_TIMEOUT seconds."""
    if not user.is_active:
        raise Conflict(f"{user.username} is suspended; reactivate the account first.")
    _record(actor, "admin.reset_password", user.username, reason)
    return resets.issue_link(actor=actor, user=user)


@transaction.atomic
def cancel_any_job(*, actor: User, job: Job, reason: str = "") -> Job:
    """Cancel somebody's job; see `cancel_job`."""
    cancelled, owner = cancel_job(actor=actor, job=job), job.created_by
    _record(actor, "admin.cancel_job", f"job {job.pk}", reason, user=owner and owner.username)
    return cancelled


@transaction.atomic
def set_any_priority(*, actor: User, job: Job, priority: str, reason: str = "") -> Job:
    """Give somebody's job a priority, urgent too; see `set_priority`."""
    changed, owner = set_priority(actor=actor, job=job, priority=priority), job.created_by
    _record(actor, "admin.job_priority", f"job {job.pk}", reason, user=owner and owner.username, priority=priority)
    return changed


def record_export(*, actor: User, form: str, filters: dict) -> None:
    """Note that the audit log is being exported, and which part of it."""
    record(actor, "admin.export_events", "audit log", format=form, filters=filters)


def _record(actor: User | None, verb: str, object: str, reason: str, **detail: object) -> None:
    record(actor, verb, object, **detail, **({"reason": reason.strip()[:MAX_REASON]} if reason.strip() else {}))
