"""Companions of a repository: private ones are for the members of its namespace, others for who may have its files."""

from django.db.models import Q, QuerySet

from hub.access.gates import open_to
from hub.access.repositories import member
from hub.access.viewer import Viewer, missing
from hub.models import Companion, Repository, Visibility


def visible_companions(viewer: Viewer) -> Q:
    """The filter for companions, of repositories the viewer may see; private ones are for members of the namespace,
    those beside a gated repository for who may have its files."""
    public = Q(visibility=Visibility.PUBLIC) & open_to(viewer, "repository__")
    if viewer.user is None or not viewer.has_scope("read"):
        return public
    return public | member(viewer, "repository__")


def companions(viewer: Viewer, repository: Repository) -> QuerySet[Companion]:
    """The repository's companions by kind and name; private ones only for members of its namespace."""
    found = Companion.objects.filter(visible_companions(viewer), repository=repository)
    return found.select_related("blob", "created_by").order_by("kind", "name")


def companion(viewer: Viewer, repository: Repository, kind: str, name: str, *, whole: bool = False) -> Companion:
    """One companion by kind and name; with `whole` the name of its folder is enough."""
    of_kind = companions(viewer, repository).filter(kind=kind)
    found = (named(of_kind, name) if whole else of_kind.filter(name=name)).first()
    if found is None:
        raise missing(f"{kind}/{name}", "companion")
    return found


def named(found: QuerySet[Companion], name: str) -> QuerySet[Companion]:
    """The companions of this name, or in the folder of this name."""
    return found.filter(Q(name=name) | Q(name__startswith=f"{name}/"))
