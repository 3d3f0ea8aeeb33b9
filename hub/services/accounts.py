"""Making people and organisations, and giving roles."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import IntegrityError, connection, transaction

from hub.errors import Conflict, Invalid, PermissionDenied
from hub.models import Membership, Namespace, Role, User
from hub.names import check_namespace
from hub.services import mail, quotas
from hub.services.audit import record
from hub.services.base_owners import refuse_place_of_bases
from hub.services.signing_in import passwords


def require_open() -> None:
    """PermissionDenied on a hub that takes no sign-ups."""
    if not settings.SIGN_UP_OPEN:
        raise PermissionDenied("This hub takes no sign-ups; ask its operator for an account.")


@transaction.atomic
def create_user(
    *, username: str, password: str | None, email: str = "", is_staff: bool | None = None, address: str | None = None
) -> User:
    """A user with a namespace of the same name in which they are admin; without a password they come by a provider.

    `is_staff` makes them an administrator of the site or not; None makes the first account of the hub one. `address`
    is where someone signs up from: TooMany where it has made the day's accounts.
    """
    if address is None:
        _refuse_taken(check_namespace(username))
    else:
        quotas.count_sign_up(address)
        check_free(username)
    if is_staff is None:
        is_staff = _is_first()
    user = User(username=username, email=check_email(email), is_staff=is_staff)
    user.set_password(None if password is None else passwords.check_new(password, user))
    with _one_of_a_name(username):
        user.save()
        namespace = Namespace.objects.create(name=username, owner=user)
    Membership.objects.create(namespace=namespace, user=user, role=Role.ADMIN)
    record(user, "user.create", username, namespace=namespace, **({"administrator": True} if is_staff else {}))
    return user


@transaction.atomic
def set_email(*, actor: User, user: User, email: str) -> None:
    """Another e-mail address, or "" for none; Invalid where it can't be one. The old address is told."""
    before, after = user.email, check_email(email)
    user.email = after
    user.save(update_fields=["email"])
    record(actor, "user.email", user.username)
    if before and before != after:
        mail.notify(user, "email", address=before)


@transaction.atomic
def create_organisation(*, actor: User, name: str, display_name: str = "") -> Namespace:
    """An organisation whose first admin is `actor`."""
    _refuse_taken(check_namespace(name))
    refuse_place_of_bases(actor, name)
    quotas.require("organisations", actor)
    with _one_of_a_name(name):
        namespace = Namespace.objects.create(name=name, display_name=display_name, created_by=actor)
    Membership.objects.create(namespace=namespace, user=actor, role=Role.ADMIN)
    record(actor, "organisation.create", namespace)
    return namespace


@transaction.atomic
def set_role(*, actor: User | None, namespace: Namespace, user: User, role: str, by_group: bool = False) -> Membership:
    """Give `user` a role in an organisation, or change it; the last admin stays admin. Actor None: a group gave it."""
    if role not in Role.values:
        raise Invalid(f"{role!r} is not a role; choose one of {', '.join(Role.values)}.", field="role")
    if namespace.owner_id == user.pk and role != Role.ADMIN:
        raise Conflict(f"{user.username} owns the namespace {namespace.name} and stays its admin.")
    if role != Role.ADMIN:
        _keep_an_admin(namespace, without=user)
    membership, _ = Membership.objects.update_or_create(
        namespace=namespace, user=user, defaults={"role": role, "by_group": by_group}
    )
    how = {"by": "group"} if by_group else {}
    record(actor, "member.set", namespace, user=user.username, role=role, **how)
    return membership


@transaction.atomic
def remove_member(*, actor: User | None, namespace: Namespace, user: User) -> None:
    """Remove `user` from an organisation; the last admin can't be removed."""
    _keep_an_admin(namespace, without=user)
    Membership.objects.filter(namespace=namespace, user=user).delete()
    record(actor, "member.remove", namespace, user=user.username)


def _is_first() -> bool:
    """True where no account is there; a second one that is made at the same moment waits here and then isn't first."""
    if User.objects.exists():
        return False
    if connection.vendor == "postgresql":  # SQLite's transactions begin with the lock of the whole database.
        with connection.cursor() as cursor:
            cursor.execute(f"LOCK TABLE {User._meta.db_table} IN SHARE ROW EXCLUSIVE MODE")
    return not User.objects.exists()


def check_email(email: str) -> str:
    """The address as it is kept, "" for none; Invalid where it can't be one."""
    email = email.strip()
    try:
        if email:
            validate_email(email)
    except ValidationError:
        raise Invalid(f"{email[:100]!r} is not an e-mail address; write name@host.", field="email") from None
    return User.objects.normalize_email(email)


@contextmanager
def _one_of_a_name(name: str) -> Iterator[None]:
    """Conflict for the second of two who make the same name at the same moment."""
    try:
        with transaction.atomic():
            yield
    except IntegrityError:
        raise _taken(name) from None


def _taken(name: str) -> Conflict:
    return Conflict(f"The name {name!r} is taken; choose another.", field="name")


def check_free(name: str) -> str:
    """`name`, if somebody who comes by themselves may have it. Errors: Invalid, Conflict."""
    _refuse_taken(check_namespace(name))
    refuse_place_of_bases(None, name)
    return name


def _refuse_taken(name: str) -> None:
    named = Namespace.objects.filter(name__iexact=name)
    if named.exists() or User.objects.filter(username__iexact=name).exists():
        raise _taken(name)


def _keep_an_admin(namespace: Namespace, *, without: User) -> None:
    # The rows are locked so that two admins can't remove each other at the same moment.
    rows = namespace.memberships.select_for_update().filter(role=Role.ADMIN, user__is_active=True)
    admins = list(rows.values_list("user_id", flat=True))
    if set(admins) == {without.pk}:
        raise Conflict(f"{without.username} is the last admin of {namespace.name}; make another member admin first.")
