"""The audit log, for admins, and what of its words a viewer may read."""

from collections.abc import Iterable

from django.db.models import QuerySet

from hub import access
from hub.access import Viewer, visible
from hub.models import Event, Kind, Namespace, Repository, sharing_names
from hub.names import split_path, split_place
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
        raise access.missing(repository.path, "repository")
    access.require_role(viewer, namespace or repository, "admin", str(namespace or repository))
    found = Event.objects.filter(namespace=namespace) if namespace else Event.objects.filter(repository=repository)
    return found.select_related("actor", "namespace", "repository__namespace").order_by("-pk")


def watched(viewer: Viewer, pks: Iterable[int]) -> set[int]:
    """The ids among these of jobs the viewer may watch."""
    return set(jobs(viewer).filter(pk__in=set(pks)).values_list("pk", flat=True))


def datasets_seen(viewer: Viewer, names: Iterable[str]) -> set[str]:
    """The datasets among these that the viewer may see: each `datasets/ns/name`, or `ns/name` as in old events."""
    wanted = {name: split_path(name) for name in names}
    rows = Repository.objects.select_related("namespace").filter(
        visible(viewer),
        sharing_names(Kind.DATASET),
        namespace__name__in={split_place(place)[0] for place, _ in wanted.values()},
        name__in={name for _, name in wanted.values()},
    )
    return {name for row in rows for name in (row.path, row.full_name)} & set(wanted)
