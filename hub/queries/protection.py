"""Which refs are protected, and where a ref has been."""

from django.db.models import Q, QuerySet

from hub.models import Namespace, ProtectedRef, RefMove, Repository


def protections(place: Repository | Namespace) -> QuerySet[ProtectedRef]:
    """The rules that hold in a repository, its namespace's too, or those of a namespace."""
    rules = ProtectedRef.objects.select_related("created_by", "namespace", "repository__namespace").order_by("pk")
    if isinstance(place, Namespace):
        return rules.filter(namespace=place)
    return rules.filter(Q(repository=place) | Q(namespace=place.namespace_id))


def ref_history(repository: Repository, name: str) -> QuerySet[RefMove]:
    """How the ref of this name moved, newest first; also of one that is deleted."""
    return RefMove.objects.filter(repository=repository, name=name).select_related("actor").order_by("-pk")
