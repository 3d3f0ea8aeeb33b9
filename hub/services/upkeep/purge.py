"""Deleting a repository for good. Its rows go now, its bytes with the next collection.

Versions that others speak of (an adapter merged from it, a job that read it, an evaluation on it) leave a tombstone:
number and content digest stay, so that the lineage of others keeps its shape; files, facts, recipes, the base and the
name go. Nobody sees a tombstone, so it is in nobody's way: its base can be deleted, and its namespace with its owner.
While that is there, its admins decide who may see what was made from it.
"""

from datetime import datetime

from django.db import transaction
from django.db.models import PROTECT
from django.utils import timezone

from hub.errors import Conflict, NotFound
from hub.models import (
    FINAL,
    AccessRequest,
    CardWord,
    Companion,
    Evaluation,
    FormerName,
    JobFile,
    ManifestEntry,
    Namespace,
    Parentage,
    PullRequest,
    Ref,
    Repository,
    RepositoryTag,
    Revision,
    Upload,
    User,
    Version,
    Webhook,
)
from hub.services import catalogue, quotas
from hub.services.audit import record


@transaction.atomic
def purge_repository(*, actor: User | None, repository: Repository, before: datetime | None = None) -> None:
    """Delete a repository in the trash for good; its name is free again. `actor` is None where its time was over.

    Conflict `repository.not_deleted` where it is not in the trash, or not since a time that lies before `before`.
    NotFound `repository.gone` where nothing of it is left.
    """
    rows = Repository.objects.select_for_update(of=("self",)).select_related("namespace")
    found = rows.filter(pk=repository.pk).first()
    if found is None:
        raise NotFound(f"{repository.path} was deleted for good in the meantime.", code="repository.gone")
    if found.deleted_at is None or (before and found.deleted_at >= before):
        raise Conflict(
            f"{found.path} is not in the trash; delete it first, then delete it for good.",
            code="repository.not_deleted",
        )
    if found.purged_at:
        return
    record(actor, "repository.purge", found, versions=found.versions.count())
    JobFile.objects.filter(
        blob__in=Companion.objects.filter(repository=found).values("blob"),
        job__state__in=FINAL,
        job__inputs__version__repository=found,
    ).update(blob=None)
    held = set(ManifestEntry.objects.filter(revision__repository=found).values_list("blob", flat=True))
    held |= set(Companion.objects.filter(repository=found).values_list("blob", flat=True))
    for model in (Upload, Ref, Companion, RepositoryTag, CardWord, FormerName, Webhook, PullRequest, AccessRequest):
        model.objects.filter(repository=found).delete()
    ManifestEntry.objects.filter(revision__repository=found).delete()
    revisions = Revision.objects.filter(repository=found)
    revisions.update(parent=None, version=None)
    revisions.delete()
    Evaluation.objects.filter(version__repository=found).delete()
    quotas.release(found.namespace, held)
    found.purged_at = timezone.now()
    # No name has a tilde, so that nobody can ask for this one, and the old one is free.
    found.name = f"deleted~{found.pk}"
    found.description = found.license = found.peft_type = ""
    found.base, found.rank, found.size = None, None, 0
    found.save(update_fields=["purged_at", "name", "description", "license", "peft_type", "base", "rank", "size"])
    catalogue.enter(found)
    reduce_tombstone(found)


def cut_loose(namespace: Namespace) -> None:
    """Take the tombstones out of a namespace that is about to be deleted."""
    Repository.objects.filter(namespace=namespace, purged_at__isnull=False).update(namespace=None)


@transaction.atomic
def reduce_tombstone(repository: Repository) -> bool:
    """Keep of a purged repository what others still speak of; True where that is nothing, and all of it is gone."""
    versions = Version.objects.filter(repository=repository)
    kept = _spoken_of(repository)
    versions.filter(pk__in=kept).update(base=None, facts={}, recipe=None, report=None, environment=None)
    Parentage.objects.filter(child__in=versions.exclude(pk__in=kept)).delete()
    versions.exclude(pk__in=kept).delete()
    if not kept:
        Repository.objects.filter(pk=repository.pk, purged_at__isnull=False).delete()
    return not kept


def _spoken_of(repository: Repository) -> set[int]:
    """Ids of the versions that others refer to, with those of this repository that they were made from."""
    parents = Parentage.objects.filter(parent__repository=repository)
    kept = set(parents.exclude(child__repository=repository).values_list("parent", flat=True))
    for relation in Version._meta.get_fields(include_hidden=True):
        # Every protected key to a version counts here by itself, but those that go with their repository.
        if getattr(relation, "on_delete", None) is PROTECT and relation.related_model not in (Parentage, Revision):
            name = relation.field.name
            rows = relation.related_model.objects.filter(**{f"{name}__repository": repository})
            kept |= set(rows.values_list(name, flat=True))
    more = kept
    while more:
        more = set(parents.filter(child__in=more).values_list("parent", flat=True)) - kept
        kept |= more
    return kept
