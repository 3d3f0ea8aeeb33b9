"""A first push: the repository is made by the commit that fills it, in one transaction, or not at all.

Until then the upload names the repository that it wants, and its bytes belong to the user who sends them.
"""

from collections.abc import Mapping
from contextlib import suppress

from hub import access
from hub.access import Viewer
from hub.errors import Conflict, Invalid, NotFound
from hub.models import Kind, Namespace, Repository, Upload, User, Visibility, path_of, sharing_names
from hub.names import split_path, split_place
from hub.services import quotas
from hub.services.repositories import check_new, create_repository


def goal(viewer: Viewer, place: str, name: str, make: Mapping[str, str] | None) -> Repository:
    """Where a push of this viewer goes: the repository, or with `make` {kind, visibility} one that it is to make.

    `kind` None is that of the repository that is there; where it is to be made, a dataset's below `datasets/ns` and
    else an adapter's. Raises as `access` does without the role to write there, and what `wanted` raises.
    """
    namespace, datasets = split_place(place)
    kind = make["kind"] if make else None
    if kind:
        path = path_of(kind, namespace, name)
        if datasets and path != f"{place}/{name}":
            raise Invalid(
                f"{place}/{name} names a dataset, and this push is of kind {kind}; push it to {path}.", field="kind"
            )
        place = split_path(path)[0]
    try:
        return _there(viewer, place, name, kind)
    except NotFound:
        if make is None:
            raise
    kind = kind or (Kind.DATASET if datasets else Kind.ADAPTER)
    try:
        return wanted(access.namespace(viewer, namespace, "write"), name, kind=kind, visibility=make["visibility"])
    except Conflict:
        # Made in between, or in the trash: then it is still missing.
        with suppress(NotFound):
            return _there(viewer, place, name, kind)
        raise


def wanted(namespace: Namespace, name: str, *, kind: str, visibility: str = Visibility.PUBLIC) -> Repository:
    """A repository that a push is going to make, in memory only; refused now where its making would be refused.

    Raises Invalid for the name, the kind or the visibility, Conflict where the name is taken, QuotaExceeded.
    """
    check_new(namespace, name, kind=kind, visibility=visibility)
    quotas.require("repositories", namespace, hold=False)
    return Repository(namespace=namespace, name=name, kind=kind, visibility=visibility)


def target(upload: Upload) -> Repository:
    """The repository an upload goes to; in memory only as long as nobody has made it."""
    if upload.repository:
        return upload.repository
    here = _found(upload)
    if here:
        return here
    return Repository(namespace=upload.namespace, name=upload.name, kind=upload.kind, visibility=upload.visibility)


def settle(actor: User, upload: Upload) -> Repository:
    """The repository an upload goes to, made now if it is not there. Call it in the transaction of the commit.

    Where another push made it meanwhile, this one goes on top of that, as any push to it does.
    """
    if upload.repository:
        return upload.repository
    if here := _found(upload):
        return here
    fields = {"name": upload.name, "kind": upload.kind, "visibility": upload.visibility}
    try:
        return create_repository(actor=actor, namespace=upload.namespace, **fields)
    except Conflict:
        if here := _found(upload):
            return here
        raise


def same_kind(repository: Repository, kind: str) -> None:
    """Conflict where a push of one kind goes to a repository of another."""
    if repository.kind != kind:
        raise Conflict(
            f"{repository.path} is a repository of kind {repository.kind}, and this push is of kind {kind}; "
            "choose another name.",
            code="repository.other_kind",
            field="name",
            kind=repository.kind,
        )


def _there(viewer: Viewer, place: str, name: str, kind: str | None) -> Repository:
    here = access.repository(viewer, place, name, "write", exact=kind is not None)
    if kind:
        same_kind(here, kind)
    return here


def _found(upload: Upload) -> Repository | None:
    """The repository of the wanted name, made since the upload began; Conflict where this upload can't go there."""
    named = Repository.objects.filter(sharing_names(upload.kind), namespace=upload.namespace, name__iexact=upload.name)
    here = named.filter(deleted_at=None).select_related("namespace", "base").first()
    if here is None:
        return None
    same_kind(here, upload.kind)
    if upload.visibility == Visibility.PRIVATE != here.visibility:
        raise Conflict(
            f"{here.path} was made in the meantime, and it is public, while this push was to be private. "
            "Choose another name, or make it private and push again.",
            code="repository.other_visibility",
            field="name",
        )
    return here
