"""The bytes a namespace stores, each digest counted once however many revisions and companions name it.

All revisions count, and repositories in the trash too, as they can be restored. What does not: bytes on their way in
(they count for the user, until the commit), what is proposed and not merged (it counts for who proposes it), the
private inputs of jobs, which go when the job is over, and the hub's own saving where namespaces hold the same bytes.
Rows and sums change in the transaction of the publication, under the lock of the namespace's `Usage` row.
"""

from collections.abc import Collection, Iterable

from django.db import transaction
from django.db.models import Count, Exists, F, OuterRef, Sum

from hub.errors import QuotaExceeded
from hub.models import Blob, Companion, ManifestEntry, Namespace, Stored, Usage
from hub.queries.quota import LIMITS, limits_of
from hub.services.content.manifest import Entry
from hub.services.quotas.limits import exceeded

BATCH = 1000


def hold(namespace: Namespace) -> Usage:
    """The namespace's sums, locked to the end of the transaction: before the rows of blobs and companions."""
    Usage.objects.bulk_create([Usage(namespace=namespace)], ignore_conflicts=True)
    return Usage.objects.select_for_update(of=("self",)).get(namespace=namespace)


def charge(namespace: Namespace, entries: Collection[Entry]) -> None:
    """Count these bytes for the namespace, in the caller's transaction. Raises QuotaExceeded before anything is kept.

    Call it before the blobs' rows are locked, so that all who publish take their locks in one order.
    """
    if not entries:
        return
    usage = hold(namespace)
    fresh = _fresh(namespace, entries)
    _refuse(namespace, usage, fresh)
    Stored.objects.bulk_create([Stored(namespace=namespace, sha256=e.sha256, size=e.size) for e in fresh])
    _add(namespace, fresh, 1)


def expect(namespace: Namespace, entries: Collection[Entry] = (), *, size: int = 0) -> None:
    """Refuse now what `charge` would refuse later: these files, or about `size` bytes. Nothing is counted."""
    usage = Usage.objects.filter(namespace=namespace).first() or Usage(namespace=namespace)
    fresh = _fresh(namespace, entries)
    _refuse(namespace, usage, fresh, size)


@transaction.atomic
def release(namespace: Namespace, digests: Iterable[str]) -> int:
    """Count these bytes no longer where nothing in the namespace names them any more; how many bytes that were."""
    rows = Stored.objects.filter(namespace=namespace, sha256__in=set(digests))
    if not rows.exists():
        return 0
    hold(namespace)
    gone = list(rows.exclude(Exists(_entries(namespace, "sha256"))).exclude(Exists(_companions(namespace, "sha256"))))
    Stored.objects.filter(pk__in=[row.pk for row in gone]).delete()
    _add(namespace, [Entry(row.sha256, row.size) for row in gone], -1)
    return sum(row.size for row in gone)


@transaction.atomic
def recount(namespace: Namespace) -> int:
    """Count a namespace's store from its revisions and companions; by how many bytes the kept sum was off."""
    usage = hold(namespace)
    held = Blob.objects.filter(Exists(_entries(namespace, "pk")) | Exists(_companions(namespace, "pk")))
    kept = dict(Stored.objects.filter(namespace=namespace).values_list("sha256", "size"))
    missing = []
    for sha256, size in held.values_list("pk", "size").iterator(BATCH):
        if kept.pop(sha256, None) != size:
            missing.append(Stored(namespace=namespace, sha256=sha256, size=size))
    stray = [*kept, *(row.sha256 for row in missing)]
    for begin in range(0, len(stray), BATCH):
        Stored.objects.filter(namespace=namespace, sha256__in=stray[begin : begin + BATCH]).delete()
    Stored.objects.bulk_create(missing, batch_size=BATCH)
    rows = Stored.objects.filter(namespace=namespace)
    size, files = rows.aggregate(sum=Sum("size"))["sum"] or 0, rows.count()
    Usage.objects.filter(namespace=namespace).update(stored_bytes=size, stored_files=files)
    return size - usage.stored_bytes


def miscounted(namespace: Namespace) -> int:
    """By how much the kept count differs from the revisions and companions: bytes, or files where bytes are equal."""
    if not _off(namespace):
        return 0
    with transaction.atomic():
        hold(namespace)  # Somebody may have published between the questions.
        return _off(namespace)


def _off(namespace: Namespace) -> int:
    held = Blob.objects.filter(Exists(_entries(namespace, "pk")) | Exists(_companions(namespace, "pk")))
    there = held.aggregate(bytes=Sum("size"), files=Count("pk"))
    kept = Usage.objects.filter(namespace=namespace).first() or Usage(namespace=namespace)
    rows = Stored.objects.filter(namespace=namespace).aggregate(bytes=Sum("size"), files=Count("pk"))
    for counted in ({"bytes": kept.stored_bytes, "files": kept.stored_files}, rows):
        for what in ("bytes", "files"):
            if off := abs((counted[what] or 0) - (there[what] or 0)):
                return off
    return 0


def _refuse(namespace: Namespace, usage: Usage, fresh: Collection[Entry], size: int = 0) -> None:
    limits = limits_of(namespace)
    needs = {"stored_bytes": sum(entry.size for entry in fresh) + size, "stored_files": len(fresh) or bool(size)}
    for name, needed in needs.items():
        used, limit = getattr(usage, name), limits[name]
        if limit and needed and used + needed > limit:
            raise exceeded(LIMITS[name], namespace, used=used, limit=limit, needed=int(needed))


def refuse_many_files(namespace: Namespace, files: int, *, before: int = 0) -> None:
    """QuotaExceeded for a revision of more files than the namespace may have in one; one that has may shrink."""
    limit = limits_of(namespace)["files_per_revision"] if files > before else 0
    if limit and files > limit:
        kind = LIMITS["files_per_revision"]
        raise QuotaExceeded(
            f"A revision in {namespace.name} may hold at most {limit:,} files; this one would hold {files:,}. "
            f"{kind.advice}",
            code=f"quota.{kind.name}",
            used=0,
            limit=limit,
            needed=files,
        )


def _fresh(namespace: Namespace, entries: Collection[Entry]) -> list[Entry]:
    """Those that the namespace doesn't hold yet, each once."""
    known = Stored.objects.filter(namespace=namespace, sha256__in={entry.sha256 for entry in entries})
    held = set(known.values_list("sha256", flat=True))
    return sorted({entry for entry in entries if entry.sha256 not in held})


def _add(namespace: Namespace, entries: Collection[Entry], sign: int) -> None:
    size = sum(entry.size for entry in entries)
    Usage.objects.filter(namespace=namespace).update(
        stored_bytes=F("stored_bytes") + sign * size, stored_files=F("stored_files") + sign * len(entries)
    )


def _entries(namespace: Namespace, digest: str):
    own = ManifestEntry.objects.filter(revision__repository__namespace=namespace, revision__pull=None)
    return own.filter(blob=OuterRef(digest))


def _companions(namespace: Namespace, digest: str):
    return Companion.objects.filter(blob=OuterRef(digest), repository__namespace=namespace)
