"""Moving a repository to another name, in its namespace or another: everything it holds goes along.

The old name leads on to the new one until something else takes it. What belongs to the namespace and not to the
repository stays: its webhooks, and the events up to now.
"""

from django.db import IntegrityError, transaction

from hub.access import Viewer, require_role
from hub.errors import Conflict
from hub.models import FINAL, Blob, FormerName, Job, Namespace, Repository, Visibility, Webhook, sharing_names
from hub.names import check_repository
from hub.services import catalogue, quotas, refs
from hub.services.audit import record
from hub.services.content.manifest import Entry
from hub.services.repositories import forget_former, require_admin_on_parents
from hub.services.repositories.giving_way import give_way


@transaction.atomic
def move_repository(*, actor: Viewer, repository: Repository, namespace: Namespace, name: str) -> Repository:
    """Give `repository` this place and name; needs the role admin in both namespaces.

    Errors: Invalid for the name, Conflict `repository.exists` where it is taken, PermissionDenied, QuotaExceeded of the
    namespace it comes to, and `parent_is_private` where its new neighbours would see what was made from private things.
    """
    check_repository(name)
    _hold(repository.namespace_id, namespace.pk)
    repository = refs.lock(repository)
    before, home = repository.path, repository.namespace
    require_role(actor, repository, "admin", before)
    require_role(actor, namespace, "admin", namespace.name)
    _require_free(repository, namespace, name)
    give_way(actor.user, namespace, name, repository.kind)
    leaves = home.pk != namespace.pk
    if leaves:
        if repository.visibility == Visibility.PRIVATE:
            require_admin_on_parents(actor, repository)
        quotas.require("repositories", namespace)
        quotas.charge(namespace, _held(repository))
    _follow(repository, namespace, name)
    forget_former(namespace, name, repository.kind)
    if leaves or repository.name.lower() != name.lower():
        key = {"namespace": home, "folded": repository.name.lower(), "is_dataset": repository.is_dataset}
        FormerName.objects.update_or_create(**key, defaults={"repository": repository})
    repository.namespace, repository.name = namespace, name
    try:
        with transaction.atomic():
            repository.save(update_fields=["namespace", "name"])
    except IntegrityError:
        raise _taken(repository.path) from None
    catalogue.enter(repository)
    if leaves:
        quotas.release(home, [entry.sha256 for entry in _held(repository)])
        Webhook.objects.filter(repository=repository, namespace=home).delete()
        record(actor.user, "repository.move", before, namespace=home, before=before)
    record(actor.user, "repository.move", repository, before=before, after=repository.path)
    return repository


def _hold(*namespaces: int) -> None:
    """Lock the namespaces, always in one order: nobody makes a repository in them meanwhile."""
    rows = Namespace.objects.select_for_update(of=("self",), no_key=True).filter(pk__in=namespaces).order_by("pk")
    list(rows.values_list("pk", flat=True))


def _require_free(repository: Repository, namespace: Namespace, name: str) -> None:
    same = Repository.objects.filter(sharing_names(repository.kind), namespace=namespace, name__iexact=name)
    if taken := same.filter(deleted_at=None).exclude(pk=repository.pk).select_related("namespace").first():
        raise _taken(taken.path)


def _taken(path: str) -> Conflict:
    what = "dataset" if path.startswith("datasets/") else "model"
    said = f"A {what} repository called {path} already exists. Choose another name."
    return Conflict(said, code="repository.exists", field="name")


def _held(repository: Repository) -> set[Entry]:
    """The bytes of all revisions and of what is kept beside them, each once."""
    rows = Blob.objects.filter(entries__revision__repository=repository)
    beside = Blob.objects.filter(companions__repository=repository)
    return {Entry(*row) for found in (rows, beside) for row in found.values_list("pk", "size").distinct()}


def _follow(repository: Repository, namespace: Namespace, name: str) -> None:
    """Let jobs that are still to publish here go to the new name."""
    if repository.is_dataset:
        return
    jobs = Job.objects.filter(output_namespace=repository.namespace_id, output_name__iexact=repository.name)
    jobs.exclude(state__in=FINAL).update(output_namespace=namespace, output_name=name)
