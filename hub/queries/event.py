"""The audit log, for admins, and what of its words a viewer may read."""

from collections.abc import Iterable

from django.db.models import QuerySet

from hub import access
from hub.access import Viewer, visible
from hub.models import Event, Namespace, Repository
from hub.queries.job import jobs


def events(
    viewer: Viewer, *, namespace: Namespace | None = None, repository: Repository | None = None
) -> QuerySet[Event]:
    """What happened in a namespace, or to a repository (give one of them), newest first, for those who administer it.

    Others are refused as in `access`. A row may name what the viewer must not see: show it through `hub.http`.
    """
    if (namespace is None) == (repository is None):
        raise TypeError("events() needs a namespace or a repository, and not both")
    if repository is not None and not access.may(viewer, repository, "read"):
        raise access.missing(repository.full_name, "repository")
    access.require_role(viewer, namespace or repository, "admin", str(namespace or repository))
    found = Event.objects.filter(namespace=namespace) if namespace else Event.objects.filter(repository=repository)
    return found.select_related("actor", "namespace", "repository__namespace").order_by("-pk")


def watched(viewer: Viewer, pks: Iterable[int]) -> set[int]:
    """The ids among these of jobs the viewer may watch."""
    return set(jobs(viewer).filter(pk__in=set(pks)).values_list("pk", flat=True))


def names_seen(viewer: Viewer, names: Iterable[str]) -> set[str]:
    """The repositories among these, each as `ns/name`, that the viewer may see."""
    wanted = {name: name.partition("/") for name in names}
    found = Repository.objects.filter(
        visible(viewer),
        namespace__name__in={namespace for namespace, _, _ in wanted.values()},
        name__in={name for _, _, name in wanted.values()},
    )
    return {f"{row[0]}/{row[1]}" for row in found.values_list("namespace__name", "name")} & set(wanted)
