"""Whose a base is: its owner and administrators change it, give it away, delete it. Some names are for administrators.

The owner is who registered it. Where that account is closed or gone, administrators own it.
"""

from django.conf import settings
from django.db import transaction
from django.db.models import Q, QuerySet

from hub import access
from hub.access import Viewer, visible
from hub.access.bases import is_admin, may_change
from hub.errors import Conflict, Invalid, PermissionDenied
from hub.models import FINAL, BaseModel, Evaluation, Job, Namespace, Repository, Upload, User, fold
from hub.queries.repository import trash
from hub.services.audit import record
from hub.services.known_bases import hold

NAMED = 10  # how many of the things that use a base a refusal names


def require_owner(actor: User, base: BaseModel, what: str, *, site_admin: bool | None = None) -> None:
    """Refuse who does not own the base and is no administrator: its source and aliases decide what others load."""
    if not may_change(actor, base, site_admin=site_admin):
        owner = base.owner.username if base.owner else "an administrator"
        raise PermissionDenied(
            f"{base} belongs to {owner}; only they or an administrator may {what}. Ask them, or register your own "
            "under a name of yours: hubctl base add YOU/NAME --config config.json.",
            code="base.owner",
        )


def _refuse_place_of_others(actor: User, name: str, field: str) -> None:
    """Whoever asks for `ns/name` trusts the members of `ns`: files of a base of strangers must not come from there."""
    place = Namespace.objects.filter(name__iexact=name.partition("/")[0]).first()
    if place is not None and not access.may(Viewer(user=actor), place, "write"):
        raise PermissionDenied(
            f"{name!r} lies in the namespace {place.name} of this hub, and you are no writer there: use a name of your "
            f"own, such as {actor.username}/{name.rpartition('/')[2] or 'NAME'}.",
            code="base.reserved",
            field=field,
        )


def refuse_place_of_bases(actor: User | None, name: str) -> None:
    """Refuse a namespace that bases of others have in their names, unless an administrator makes it.

    Its repositories would be served in place of those bases. Conflict `namespace.of_bases`.
    """
    if is_admin(actor) if actor else not User.objects.exists():
        return
    place = f"{name}/"
    below = BaseModel.objects.filter(Q(name__istartswith=place) | Q(aliases__name__istartswith=place))
    others = below.exclude(created_by=actor) if actor else below
    first = others.order_by("pk").first()
    if first or any(fold(place) == fold(one) for one in settings.RESERVED_BASES):
        why = f"there are base models of others below it, such as {first}" if first else "it is kept for base models"
        raise Conflict(
            f"The name {name!r} is not free: {why}. Choose another name, or ask an administrator of this hub to make "
            "the organisation.",
            code="namespace.of_bases",
            field="name",
        )


def refuse_reserved(actor: User, name: str, field: str, *, site_admin: bool | None = None) -> None:
    """Refuse a name or alias below a prefix of HUB_RESERVED_BASES or a namespace of others, unless an administrator
    gives it."""
    if is_admin(actor, site_admin):
        return
    _refuse_place_of_others(actor, name, field)
    prefix = next((one for one in settings.RESERVED_BASES if fold(name).startswith(fold(one))), None)
    if prefix is None:
        return
    raise PermissionDenied(
        f"{name!r} begins with {prefix}, which is kept for the official models: only an administrator of this hub "
        "registers names below it. Ask one of them, or use a name of your own, such as "
        f"{actor.username}/{name.rpartition('/')[2] or 'NAME'}.",
        code="base.reserved",
        field=field,
    )


@transaction.atomic
def transfer_base(*, actor: User, base: BaseModel, to: str, site_admin: bool | None = None) -> BaseModel:
    """Give the base to the account named `to`. PermissionDenied `base.owner`, Invalid where no such account is open."""
    base = hold(base)
    require_owner(actor, base, "give it away", site_admin=site_admin)
    user = User.objects.filter(username__iexact=to.strip(), is_active=True).first()
    if user is None:
        raise Invalid(f"There is no open account {to.strip()!r}; give the name of one.", field="owner")
    if user.pk != base.created_by_id:
        before = base.created_by
        base.created_by = user
        base.save(update_fields=["created_by"])
        record(actor, "base.transfer", base, owner=user.username, before=before.username if before else None)
    return base


@transaction.atomic
def drop_alias(*, actor: User, base: BaseModel, alias: str, site_admin: bool | None = None) -> None:
    """Let `alias` stand for nothing. Invalid where it does not stand for `base`."""
    require_owner(actor, base, "take a name off it", site_admin=site_admin)
    row = base.aliases.filter(name=alias).first() or base.aliases.filter(folded=fold(alias)).first()
    if row is None:
        has = ", ".join(base.aliases.order_by("name").values_list("name", flat=True)) or "none"
        raise Invalid(f"{alias!r} is no alias of {base}; it has: {has}.", field="drop_aliases")
    row.delete()
    record(actor, "base.alias.drop", base, alias=row.name)


@transaction.atomic
def delete_base(*, actor: User, base: BaseModel, site_admin: bool | None = None) -> None:
    """Delete a base that nothing uses, with its aliases and its own measurements; its name is free then.

    Jobs that are over forget it. PermissionDenied `base.owner`. Conflict `base.used` with `uses`, what refers
    to it, as far as `actor` may see that.
    """
    base = hold(base)
    require_owner(actor, base, "delete it", site_admin=site_admin)
    if uses := uses_of(base, actor):
        named = "; ".join(f"{what}: {', '.join(names)}" for what, names in uses.items())
        raise Conflict(
            f"{base} is in use, so it can't be deleted. {named}. Delete these first, from the trash for "
            "good, or leave it.",
            code="base.used",
            uses=uses,
        )
    Job.objects.filter(base=base, state__in=FINAL).update(base=None)
    Upload.objects.filter(base=base).exclude(committed_at=None).update(base=None)
    Evaluation.objects.filter(base=base, version=None).delete()
    aliases = list(base.aliases.values_list("name", flat=True))
    record(actor, "base.delete", base, aliases=aliases, source=base.source)
    base.delete()


def uses_of(base: BaseModel, actor: User) -> dict[str, list[str]]:
    """What refers to the base, in words by kind; empty where it may go. What the actor may not see has no name."""
    seen = visible(Viewer(user=actor))
    on_it = Q(base=base) | Q(versions__base=base) | Q(versions__evaluations__base=base)
    repositories = Repository.objects.filter(on_it).select_related("namespace").order_by("pk").distinct()
    living, gone = repositories.filter(deleted_at=None), repositories.exclude(deleted_at=None)
    jobs = Job.objects.filter(base=base).exclude(state__in=FINAL).order_by("pk")
    uploads = Upload.objects.filter(base=base, committed_at=None).order_by("pk")
    rows = {
        "derived bases": _named(base.derived.order_by("pk"), Q()),
        "repositories": _named(living, seen),
        "repositories in the trash": _named(gone, Q(pk__in=trash(Viewer(user=actor)).order_by().values("pk"))),
        "jobs": _named(jobs, Q(created_by=actor)),
        "uploads under way": _named(uploads, Q(user=actor)),
    }
    return {what: names for what, names in rows.items() if names}


def _named(rows: QuerySet, seen: Q) -> list[str]:
    """The first of those that may be seen, and that there are others."""
    names = [str(row) for row in rows.filter(seen)[:NAMED]]
    others = rows.count() - len(names)
    return [*names, f"{others} more"] if others else names
