"""Base models: everyone may see them, their owners and administrators change them."""

from hub.access.base_advice import how_to_register
from hub.access.viewer import Viewer
from hub.errors import NotFound
from hub.models import BaseAlias, BaseModel, User, fold


def base(name: str, revision: str | None = None) -> BaseModel:
    """The base of this name, `name@revision` or alias; everyone may see bases."""
    found = BaseModel.objects.select_related("derived_from", "created_by").filter(name__iexact=name)
    match = found.filter(revision=revision or "main").first() or (None if revision else found.order_by("pk").first())
    if match is None and (alias := alias_named(name)):
        match = alias.base
    if match is None and revision is None and "@" in name:
        return base(*name.rsplit("@", 1))
    if match is None:
        advice = how_to_register(f"{name}@{revision}" if revision else name)
        raise NotFound(f"No base model is registered as {name!r}. {advice}.", code="base_not_found", **advice.facts)
    return match


def alias_named(name: str) -> BaseAlias | None:
    """The alias of this name: as it is written, else as names are compared."""
    aliases = BaseAlias.objects.select_related("base__derived_from", "base__created_by")
    return aliases.filter(name=name).first() or aliases.filter(folded=fold(name)).first()


def may_change_base(viewer: Viewer, base: BaseModel) -> bool:
    """Whether the viewer owns the base or is an administrator, and their token allows `admin`."""
    return viewer.has_scope("admin") and may_change(viewer.user, base, site_admin=viewer.is_site_admin)


def may_change(actor: User | None, base: BaseModel, *, site_admin: bool | None = None) -> bool:
    """Whether they own the base or are an administrator; `site_admin` False where their token leaves that out."""
    if actor is None:
        return False
    return (base.owner is not None and base.owner.pk == actor.pk) or is_admin(actor, site_admin)


def is_admin(actor: User, site_admin: bool | None = None) -> bool:
    """Whether they act as an administrator of the site; a hub's only account does, as a laptop's user is its own."""
    named = actor.is_staff if site_admin is None else site_admin
    return named or not User.objects.exclude(pk=actor.pk).exists()
