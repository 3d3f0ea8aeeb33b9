"""What a push need not send again: files that the repository holds, and what came in the user's unfinished uploads."""

from collections.abc import Collection

from django.db.models import Q

from hub.models import BaseModel, Blob, ManifestEntry, Repository, Upload, UploadFile, sharing_names
from hub.services.content import staging
from hub.services.content.manifest import Entry


def held(repository: Repository, entries: Collection[Entry]) -> set[Entry]:
    """Those entries whose bytes some revision of this very repository holds; a digest alone proves nothing else."""
    if repository.pk is None:
        return set()
    names = [entry.sha256 for entry in entries]
    here = ManifestEntry.objects.filter(revision__repository=repository, blob__in=names).values("blob")
    return {Entry(row.sha256, row.size) for row in Blob.objects.filter(pk__in=here)} & set(entries)


def held_by_base(base: BaseModel, entries: Collection[Entry]) -> set[Entry]:
    """The same of a base's files."""
    rows = base.files.filter(blob__in=[entry.sha256 for entry in entries]).values_list("blob", "blob__size")
    return {Entry(*row) for row in rows} & set(entries)


def share_parts(upload: Upload) -> None:
    """Give the upload what earlier ones of this user to this repository have of the same files; they keep it."""
    wanted = {(row.path, row.sha256, row.size): row for row in upload.files.filter(blob=None)}
    mine = UploadFile.objects.filter(upload__user=upload.user, upload__committed_at=None, blob=None)
    earlier = mine.filter(_same_place(upload)).exclude(upload=upload)
    for old in earlier.filter(received__gt=0).order_by("-received"):
        row = wanted.get((old.path, old.sha256, old.size))
        if row is not None and staging.share(old, row):
            del wanted[(old.path, old.sha256, old.size)]


def _same_place(upload: Upload) -> Q:
    """The uploads to the same repository: to its row, and first pushes of its name from before there was one."""
    where = upload.repository or upload
    named = Q(upload__namespace=where.namespace, upload__name__iexact=where.name)
    before = named & sharing_names(where.kind, prefix="upload__")
    return before | Q(upload__repository=upload.repository) if upload.repository else before
