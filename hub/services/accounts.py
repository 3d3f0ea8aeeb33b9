"""Making people and organisations, and giving roles."""

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db import connection, transaction

from hub.errors import Conflict, Invalid
from hub.models import Membership, Namespace, Role, User
from hub.names import check_namespace
from hub.services.audit import record


@transaction.atomic
def create_user(*, username: str, password: str, email: str = "", is_staff: bool | None = None) -> User:
    """A user with a namespace of the same name in which they are admin.

    `is_staff` makes them an administrator of the site or not; None makes the first account of the hub one.
    """
    _refuse_taken(check_namespace(username))
    if is_staff is None:
        is_staff = _is_first()
    user = User(username=username, email=email, is_staff=is_staff)
    try:
        validate_password(password, user)
    except ValidationError as error:
        raise Invalid(" ".join(error.messages), field="password") from None
    user.set_password(password)
    user.save()
    namespace = Namespace.objects.create(name=username, owner=user)
    Membership.objects.create(namespace=namespace, user=user, role=Role.ADMIN)
    record(user, "user.create", username, namespace=namespace, **({"administrator": True} if is_staff else {}))
    return user


@transaction.atomic
def set_password(*, user: User, password: str) -> None:
    """A new password for `user`; Invalid says what is wrong with it."""
    try:
        validate_password(password, user)
    except ValidationError as error:
        raise Invalid(" ".join(error.messages), field="password") from None
    user.set_password(password)
    user.save(update_fields=["password"])
    record(user, "user.password", user.username)


@transaction.atomic
def create_organisation(*, actor: User, name: str, display_name: str = "") -> Namespace:
    """An organisation whose first admin is `actor`."""
    _refuse_taken(check_namespace(name))
    namespace = Namespace.objects.create(name=name, display_name=display_name)
    Membership.objects.create(namespace=namespace, user=actor, role=Role.ADMIN)
    record(actor, "organisation.create", namespace)
    return namespace


@transaction.atomic
def set_role(*, actor: User, namespace: Namespace, user: User, role: str) -> Membership:
    """Give `user` a role in an organisation, or change it; the last admin stays admin."""
    if role not in Role.values:
        raise Invalid(f"{role!r} is not a role; choose one of {', '.join(Role.values)}.", field="role")
    if namespace.owner_id == user.pk and role != Role.ADMIN:
        raise Conflict(f"{user.username} owns the namespace {namespace.name} and stays its admin.")
    if role != Role.ADMIN:
        _keep_an_admin(namespace, without=user)
    membership, _ = Membership.objects.update_or_create(namespace=namespace, user=user, defaults={"role": role})
    record(actor, "member.set", namespace, user=user.username, role=role)
    return membership


@transaction.atomic
def remove_member(*, actor: User, namespace: Namespace, user: User) -> None:
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


def _refuse_taken(name: str) -> None:
    if Namespace.objects.filter(name__iexact=name).exists() or User.objects.filter(username__iexact=name).exists():
        raise Conflict(f"The name {name!r} is taken; choose another.", field="name")


def _keep_an_admin(namespace: Namespace, *, without: User) -> None:
    # The rows are locked so that two admins can't remove each other at the same moment.
    admins = list(namespace.memberships.select_for_update().filter(role=Role.ADMIN).values_list("user_id", flat=True))
    if set(admins) == {without.pk}:
        raise Conflict(f"{without.username} is the last admin of {namespace.name}; make another member admin first.")
