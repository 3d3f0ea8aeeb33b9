"""Tags: names that move."""

from django.db import transaction

from hub.errors import Conflict, NotFound
from hub.models import Ref, RefKind, Repository, Revision, User
from hub.names import check_ref
from hub.services.audit import record


@transaction.atomic
def set_tag(*, actor: User, repository: Repository, name: str, revision: Revision) -> Ref:
    """Point the tag `name` at `revision`, wherever it pointed before."""
    check_ref(name)
    if Ref.objects.filter(repository=repository, name=name, kind=RefKind.BRANCH).exists():
        raise Conflict(f"{name!r} is a branch of {repository.full_name}; a tag needs another name.", field="name")
    tag, _ = Ref.objects.update_or_create(
        repository=repository, name=name, defaults={"kind": RefKind.TAG, "revision": revision}
    )
    record(actor, "tag.set", repository, tag=name, revision=revision.oid)
    return tag


@transaction.atomic
def delete_tag(*, actor: User, repository: Repository, name: str) -> None:
    """Remove a tag; the revision stays. `latest` is the hub's own."""
    check_ref(name)
    deleted, _ = Ref.objects.filter(repository=repository, name=name, kind=RefKind.TAG).delete()
    if not deleted:
        raise NotFound(f"{repository.full_name} has no tag {name!r}.")
    record(actor, "tag.delete", repository, tag=name)
