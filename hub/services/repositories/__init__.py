"""Making, changing, deleting and restoring repositories."""

from django.db import IntegrityError, transaction
from django.db.models import Q
from django.utils import timezone

from hub import access
from hub.access import Viewer, acting
from hub.errors import Conflict, Invalid, PermissionDenied
from hub.models import (
    FormerName,
    Gate,
    Kind,
    Namespace,
    Parentage,
    Repository,
    User,
    Visibility,
    path_of,
    sharing_names,
)
from hub.names import check_repository
from hub.services import catalogue, quotas, refs
from hub.services.audit import adopt, record
from hub.services.repositories.giving_way import give_way


@transaction.atomic
def create_repository(
    *,
    actor: User,
    namespace: Namespace,
    name: str,
    kind: str,
    visibility: str = Visibility.PUBLIC,
    description: str = "",
) -> Repository:
    """An empty repository; Conflict where the name is taken in its name space. One in the trash gives way."""
    # Whoever protects refs in the whole namespace is waited for, see `hub.services.protections`.
    Namespace.objects.select_for_update(of=("self",), no_key=True).get(pk=namespace.pk)
    check_new(namespace, name, kind=kind, visibility=visibility)
    quotas.require("repositories", namespace)
    give_way(actor, namespace, name, kind)
    try:
        with transaction.atomic():
            repository = Repository.objects.create(
                namespace=namespace,
                name=name,
                kind=kind,
                visibility=visibility,
                description=description[:300],
                created_by=actor,
            )
    except IntegrityError:
        wanted = path_of(kind, namespace.name, name)
        raise Conflict(f"{wanted} was just made by someone else; choose another name.", field="name") from None
    forget_former(namespace, name, kind)
    catalogue.enter(repository)
    record(actor, "repository.create", repository, kind=kind, visibility=visibility)
    adopt(repository)
    return repository


def check_new(namespace: Namespace, name: str, *, kind: str, visibility: str) -> None:
    """Invalid for what can be no repository, Conflict where the name is taken."""
    check_repository(name)
    if kind not in Kind.values:
        raise Invalid(f"{kind!r} is not a kind of repository; choose one of {', '.join(Kind.values)}.", field="kind")
    _check_visibility(visibility)
    named = Repository.objects.filter(sharing_names(kind), namespace=namespace, name__iexact=name)
    if taken := named.filter(deleted_at=None).first():
        raise Conflict(f"{taken.path} exists already.", field="name")


def forget_former(namespace: Namespace, name: str, kind: str) -> None:
    """The name is given anew, so that it leads nowhere else any more."""
    here = {"namespace": namespace, "folded": name.lower(), "is_dataset": Repository(kind=kind).is_dataset}
    FormerName.objects.filter(**here).delete()


@transaction.atomic
def update_repository(
    *,
    actor: User | Viewer,
    repository: Repository,
    visibility: str | None = None,
    description: str | None = None,
    gate: str | None = None,
) -> Repository:
    """Change what may change. Making it public needs admin on every private or gated parent of any of its versions.

    Under the repository's lock, so that what a job or another person changed since it was read stays.
    """
    repository, changed = refs.lock(repository), []
    if visibility is not None and visibility != repository.visibility:
        _check_visibility(visibility)
        if not access.may(acting(actor), repository, "admin"):
            raise PermissionDenied(f"Only admins of {repository.namespace.name} change who may see a repository.")
        if visibility == Visibility.PUBLIC:
            require_admin_on_parents(acting(actor), repository)
        repository.visibility = visibility
        changed.append("visibility")
    if gate is not None and gate != repository.gate:
        _check_gate(gate)
        if not access.may(acting(actor), repository, "admin"):
            raise PermissionDenied(f"Only admins of {repository.namespace.name} change who may fetch its files.")
        repository.gate = gate
        changed.append("gate")
    if description is not None:
        repository.description = description[:300]
        changed.append("description")
    repository.save(update_fields=changed)
    catalogue.enter(repository)
    told = {"visibility": repository.visibility} | ({"gate": gate} if "gate" in changed else {})
    record(acting(actor).user, "repository.update", repository, **told)
    return repository


@transaction.atomic
def delete_repository(*, actor: User, repository: Repository) -> None:
    """Put it into the trash: invisible to all, everything restorable. It keeps its name until another takes that."""
    Repository.objects.filter(pk=repository.pk, deleted_at=None).update(deleted_at=timezone.now())
    catalogue.enter(repository)
    record(actor, "repository.delete", repository)


@transaction.atomic
def restore_repository(*, actor: User, repository: Repository) -> Repository:
    """Take it out of the trash as it was, by the name that it has by now, see `giving_way`.

    NotFound where it was deleted for good in the meantime.
    """
    rows = Repository.objects.select_for_update(of=("self",)).select_related("namespace", "base")
    found = rows.filter(pk=repository.pk, purged_at=None).first()
    if found is None:
        raise access.missing(repository.path, "repository")
    found.deleted_at = None
    found.save(update_fields=["deleted_at"])
    catalogue.enter(found)
    record(actor, "repository.restore", found)
    return found


def _check_visibility(visibility: str) -> None:
    if visibility not in Visibility.values:
        raise Invalid(f"{visibility!r} is not a visibility; choose public or private.", field="visibility")


def _check_gate(gate: str) -> None:
    if gate not in Gate.values:
        raise Invalid(f"{gate!r} is not a gate; choose one of {', '.join(Gate.values)}.", field="gate")


def require_admin_on_parents(viewer: Viewer, repository: Repository) -> None:
    """PermissionDenied unless the viewer is admin of every private or gated repository that a version was made from."""
    restricted = Q(parent__repository__visibility=Visibility.PRIVATE) | ~Q(parent__repository__gate=Gate.OPEN)
    parents = (
        Parentage.objects.filter(restricted, child__repository=repository)
        .exclude(parent__repository=repository)
        .select_related("parent__repository__namespace")
    )
    for parentage in parents:
        parent = parentage.parent.repository
        if parent.namespace is None:
            raise PermissionDenied(
                f"{repository.path} was made from a private adapter that went with its owner's account, so that "
                "nobody can agree to show it; it stays private.",
                code="parent_is_private",
            )
        if not access.may(viewer, parent, "admin"):
            seen = not parent.deleted_at and access.may(viewer, parent, "read")
            shown = parent.path if seen else "a private adapter you can't see"
            raise PermissionDenied(
                f"{repository.path} was made from {shown}; making it public needs an admin of that adapter.",
                code="parent_is_private",
            )
