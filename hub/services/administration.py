"""What administrators of the site do to accounts and jobs. Each act is on the record under `admin.`, with its reason.

Who may is asked where the request comes in, by `access.require_site_admin`.
"""

from django.contrib.auth.tokens import default_token_generator
from django.contrib.sessions.backends.db import SessionStore
from django.contrib.sessions.models import Session
from django.db import transaction
from django.utils import timezone
from django.utils.encoding import force_bytes
from django.utils.http import urlsafe_base64_decode, urlsafe_base64_encode

from hub.errors import Conflict, HubError, NotFound
from hub.models import Job, Token, User
from hub.services.accounts import set_password
from hub.services.audit import record
from hub.services.jobs.queue import CANCELLABLE, cancel_job

MAX_REASON = 300


@transaction.atomic
def set_administrator(*, actor: User | None, user: User, administrator: bool, reason: str = "") -> User:
    """Make `user` an administrator of the site, or a user like others; the last active one stays."""
    user = _locked(user)
    if user.is_staff == administrator:
        return user
    if not administrator:
        _keep_an_administrator(user)
    elif not user.is_active:
        raise Conflict(f"{user.username} is suspended; reactivate the account first.")
    user.is_staff = administrator
    user.save(update_fields=["is_staff"])
    _record(actor, "admin.grant" if administrator else "admin.revoke", user.username, reason)
    return user


@transaction.atomic
def deactivate_user(*, actor: User, user: User, reason: str = "") -> User:
    """Suspend an account: nobody signs in with it, its tokens, sessions and unfinished jobs end. What it made stays."""
    user = _locked(user)
    if not user.is_active:
        return user
    if user.is_staff:
        _keep_an_administrator(user)
    user.is_active = False
    user.save(update_fields=["is_active"])
    end_everything(user)
    for job in Job.objects.filter(created_by=user, state__in=CANCELLABLE):
        _cancel_if_possible(actor, job)
    _record(actor, "admin.suspend", user.username, reason)
    return user


@transaction.atomic
def reactivate_user(*, actor: User, user: User, reason: str = "") -> User:
    """Let a suspended account sign in again; its old tokens stay ended."""
    user = _locked(user)
    if user.is_active:
        return user
    user.is_active = True
    user.save(update_fields=["is_active"])
    _record(actor, "admin.reactivate", user.username, reason)
    return user


@transaction.atomic
def change_account(
    *, actor: User, user: User, active: bool | None = None, administrator: bool | None = None, reason: str = ""
) -> None:
    """Several of these at once, or none of them; None leaves as it is."""
    asked = {"actor": actor, "user": user, "reason": reason}
    if active is not None:
        (reactivate_user if active else deactivate_user)(**asked)
    if administrator is not None:
        set_administrator(**asked, administrator=administrator)


def end_everything(user: User) -> None:
    """End all tokens and sessions of an account."""
    Token.objects.filter(user=user, revoked_at=None).update(revoked_at=timezone.now())
    for session in Session.objects.filter(expire_date__gte=timezone.now()).iterator():
        if SessionStore().decode(session.session_data).get("_auth_user_id") == str(user.pk):
            session.delete()


@transaction.atomic
def reset_link(*, actor: User, user: User, reason: str = "") -> tuple[str, str]:
    """The two parts of a link with which `user` sets a new password, once, within PASSWORD_RESET_TIMEOUT seconds."""
    if not user.is_active:
        raise Conflict(f"{user.username} is suspended; reactivate the account first.")
    _record(actor, "admin.reset_password", user.username, reason)
    return urlsafe_base64_encode(force_bytes(user.pk)), default_token_generator.make_token(user)


def user_of_link(who: str, secret: str) -> User:
    """The account of a link of `reset_link`; NotFound where it is used, old or not ours."""
    try:
        pk = int(urlsafe_base64_decode(who))
        user = User.objects.filter(pk=pk, is_active=True).first() if abs(pk) < 2**63 else None
    except ValueError:
        user = None
    if user is None or not default_token_generator.check_token(user, secret):
        raise NotFound("This link has been used or is too old. Ask an administrator of the hub for a new one.")
    return user


@transaction.atomic
def use_reset_link(*, who: str, secret: str, password: str) -> User:
    """Set the password by a link, once; all tokens and sessions of the account end. Raises NotFound, Invalid."""
    user = user_of_link(who, secret)
    User.objects.select_for_update().get(pk=user.pk)
    user = user_of_link(who, secret)  # A second use at the same moment has waited for the first.
    set_password(user=user, password=password)
    end_everything(user)
    return user


@transaction.atomic
def cancel_any_job(*, actor: User, job: Job, reason: str = "") -> Job:
    """Cancel somebody's job; see `cancel_job`."""
    cancelled = cancel_job(actor=actor, job=job)
    _record(actor, "admin.cancel_job", f"job {job.pk}", reason, user=job.created_by.username)
    return cancelled


def record_export(*, actor: User, form: str, filters: dict) -> None:
    """Note that the audit log is being exported, and which part of it."""
    record(actor, "admin.export_events", "audit log", format=form, filters=filters)


def _locked(user: User) -> User:
    """The account's row, and those of all administrators, for this transaction alone, in the order of their ids."""
    staff = set(User.objects.filter(is_staff=True).values_list("pk", flat=True))
    rows = User.objects.select_for_update().filter(pk__in=staff | {user.pk}).order_by("pk")
    return next(row for row in rows if row.pk == user.pk)


def _keep_an_administrator(user: User) -> None:
    if not User.objects.filter(is_staff=True, is_active=True).exclude(pk=user.pk).exists():
        raise Conflict(
            f"{user.username} is the last administrator of this hub; make another user one first.",
            code="last_administrator",
        )


def _cancel_if_possible(actor: User, job: Job) -> None:
    try:
        cancel_job(actor=actor, job=job)
    except HubError:
        return  # It has ended meanwhile, or is being saved.


def _record(actor: User | None, verb: str, object: str, reason: str, **detail: object) -> None:
    record(actor, verb, object, **detail, **({"reason": reason.strip()[:MAX_REASON]} if reason.strip() else {}))
