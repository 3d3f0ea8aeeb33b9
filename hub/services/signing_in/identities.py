"""Signing in by OpenID Connect: from claims that were checked to a user, their roles, and the end of them.

A person is their issuer and subject. An e-mail address or a name never finds an account, as both change hands: who has
an account already signs in to it and connects the two. Groups give roles in organisations; a role given by hand is
never touched, and one given by a group goes when the person comes without that group.
"""

import logging
import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta

from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils import timezone

from hub.errors import Conflict, HubError, NotSignedIn, PermissionDenied
from hub.models import Identity, Membership, Namespace, Role, User
from hub.oidc import Provider
from hub.services import accounts, leaving, mail
from hub.services.audit import record
from hub.services.signing_in.sign_in import Visitor

WAY = "oidc"
LONGEST_GROUPS = 2000
MOST_NAMES = 100

log = logging.getLogger(__name__)


def sign_in_by(claims: Mapping[str, object], visitor: Visitor) -> User:
    """The user of these claims, made where the operator lets people come; their groups' roles are set.

    NotSignedIn where the person may not come, PermissionDenied where they have no account and may not make one.
    """
    provider, subject = settings.OIDC, _subject(claims)
    groups = _groups(claims, provider)
    if provider.allowed and not provider.allowed & groups:
        raise _turned_away(visitor, "You are in none of the groups that may use this hub; ask its administrators.")
    with transaction.atomic():
        identity = _found(provider, subject) or _made(claims, provider, subject, visitor)
        user = identity.user
        if user.is_active:
            Identity.objects.filter(pk=identity.pk).update(seen_at=timezone.now(), shown=_shown(claims))
            _set_roles(user, groups, provider)
            record(user, "sign_in.ok", user.username, address=visitor.address, way=WAY, door=visitor.door)
    if not user.is_active:
        raise _turned_away(visitor, "This account is deactivated; ask an administrator of this hub.", user)
    return user


@transaction.atomic
def connect(*, user: User, claims: Mapping[str, object]) -> Identity:
    """Let these claims sign in as `user` from now on; Conflict where they are another user's."""
    provider, subject = settings.OIDC, _subject(claims)
    known = _found(provider, subject)
    if known and known.user_id != user.pk:
        raise Conflict(f"That account of {provider.name} belongs to another user of this hub.", code="oidc.taken")
    if known is None:
        known = _keep(user, provider, subject, claims)
        record(user, "identity.connect", user.username, issuer=provider.issuer, subject=subject)
        mail.notify(user, "connected")
    return known


@transaction.atomic
def disconnect(*, user: User, identity: Identity, by_operator: bool = False) -> None:
    """Take it away; Conflict where it is the only way in, unless the operator does it, who can give another."""
    rest = user.identities.exclude(pk=identity.pk)
    if not by_operator and not user.has_usable_password() and not rest.exists():
        raise Conflict("This is your only way in. Set a password first (a reset link does it), then disconnect.")
    identity.delete()
    record(
        None if by_operator else user,
        "identity.disconnect",
        user.username,
        issuer=identity.issuer,
        subject=identity.subject,
    )


def is_paused(user: User) -> bool:
    """Whether tokens of this user pause: they come by a provider alone, and haven't for `HUB_OIDC_TOKEN_DAYS`."""
    provider = settings.OIDC
    if provider is None or not provider.days or user.has_usable_password():
        return False
    since = timezone.now() - timedelta(days=provider.days)
    mine = user.identities.filter(issuer=provider.issuer)
    return mine.exists() and not mine.filter(seen_at__gte=since).exists()


def _found(provider: Provider, subject: str) -> Identity | None:
    return Identity.objects.select_related("user").filter(issuer=provider.issuer, subject=subject).first()


def _made(claims: Mapping, provider: Provider, subject: str, visitor: Visitor) -> Identity:
    if not provider.sign_up:
        raise PermissionDenied(
            f"You have no account here yet. Ask an administrator for one, sign in to it and connect {provider.name} on "
            "your account page.",
            code="oidc.no_account",
        )
    email = claims.get("email") if claims.get("email_verified") is True else ""
    user = accounts.create_user(username=_free_name(claims, provider), password=None, email=_address(email))
    return _keep(user, provider, subject, claims)


def _keep(user: User, provider: Provider, subject: str, claims: Mapping) -> Identity:
    try:
        with transaction.atomic():
            return Identity.objects.create(
                user=user, issuer=provider.issuer, subject=subject, shown=_shown(claims), seen_at=timezone.now()
            )
    except IntegrityError:
        raise Conflict("You are signing in twice at this moment; try again.", code="oidc.twice") from None


def _free_name(claims: Mapping, provider: Provider) -> str:
    """A user name that is free, as near as can be to the one the provider gives."""
    given = claims.get(provider.name_claim) or claims.get("nickname") or claims.get("name") or ""
    word = re.sub(r"[^A-Za-z0-9._-]+", "-", str(given)[:200].partition("@")[0])
    word = re.sub(r"[-.]{2,}", "-", word).strip("-._")[:60].removesuffix(".git").strip("-._") or "user"
    for number in range(1, MOST_NAMES):
        name = word if number == 1 else f"{word}-{number}"
        with suppress(HubError):
            return accounts.check_free(name)
    raise Conflict(f"No name like {word!r} is free here; ask an administrator for an account.", code="oidc.no_name")


def _set_roles(user: User, groups: set[str], provider: Provider) -> None:
    """Give the roles of these groups, take those of groups that are gone."""
    wanted: dict[str, str] = {}
    for group in groups & provider.groups.keys():
        for name, role in provider.groups[group]:
            if name.lower() not in wanted or Role(role).level > Role(wanted[name.lower()]).level:
                wanted[name.lower()] = role
    mapped = {name.lower() for places in provider.groups.values() for name, _ in places}
    for name in sorted(mapped):
        place = Namespace.objects.filter(name__iexact=name, owner=None).first()
        if place is None:
            log.warning("HUB_OIDC_GROUPS names the organisation %r, which does not exist; make it first", name)
        else:
            _set_role(user, place, wanted.get(name))
    _set_administrator(user, groups, provider)


def _set_role(user: User, place: Namespace, role: str | None) -> None:
    row = Membership.objects.filter(namespace=place, user=user).first()
    if row is not None and not row.by_group:
        return
    try:
        with transaction.atomic():
            if role is None and row is not None:
                accounts.remove_member(actor=None, namespace=place, user=user)
            elif role is not None and (row is None or row.role != role):
                accounts.set_role(actor=None, namespace=place, user=user, role=role, by_group=True)
    except Conflict as refusal:
        log.warning("%s keeps their role in %s: %s", user.username, place.name, refusal.message)


def _set_administrator(user: User, groups: set[str], provider: Provider) -> None:
    """Administrators by group come and go with it; those made by hand stay, and the last one."""
    if not provider.admins:
        return
    is_one = bool(provider.admins & groups)
    if is_one and not user.is_staff:
        User.objects.filter(pk=user.pk).update(is_staff=True, staff_by_group=True)
        record(None, "user.admin", user.username, admin=True, by="group")
    elif not is_one and user.is_staff and user.staff_by_group:
        try:
            leaving.keep_an_administrator(user)
        except Conflict as refusal:
            log.warning("%s stays an administrator without the group: %s", user.username, refusal.message)
            return
        User.objects.filter(pk=user.pk).update(is_staff=False, staff_by_group=False)
        record(None, "user.admin", user.username, admin=False, by="group")
    user.refresh_from_db(fields=["is_staff", "staff_by_group"])


def _subject(claims: Mapping) -> str:
    subject = claims.get("sub")
    if not isinstance(subject, str) or not 0 < len(subject) <= 255 or "\0" in subject:
        raise NotSignedIn("The provider did not say who you are (sub).", code="oidc.claims")
    return subject


def _groups(claims: Mapping, provider: Provider) -> set[str]:
    given = claims.get(provider.groups_claim)
    listed = [given] if isinstance(given, str) else given if isinstance(given, list) else []
    return {group for group in listed[:LONGEST_GROUPS] if isinstance(group, str)}


def _shown(claims: Mapping) -> str:
    given = next((claims[key] for key in ("email", "preferred_username", "name") if claims.get(key)), "")
    return "".join(char for char in str(given)[:200] if char.isprintable())


def _address(email: object) -> str:
    try:
        return accounts.check_email(email) if isinstance(email, str) else ""
    except HubError:
        return ""


def _turned_away(visitor: Visitor, why: str, user: User | None = None) -> NotSignedIn:
    name = user.username if user else "(unknown name)"
    record(None, "sign_in.failed", name, address=visitor.address, way=WAY, door=visitor.door)
    return NotSignedIn(why, code="oidc.turned_away")
