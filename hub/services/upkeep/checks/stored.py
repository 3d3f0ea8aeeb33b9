"""Stored bytes against their rows: there, whole, and needed; and what is left of pushes under way."""

from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain
from pathlib import Path

from hub.models import Blob
from hub.services.content import staging
from hub.services.content.collection import collect, collect_without_row, is_old, unreferenced, without_row
from hub.services.upkeep import batches
from hub.services.upkeep.checks.finding import Finding, Look
from hub.storage import blobs, digest

ADVICE = "Take it from a backup: manage.py fsck --repair --blobs-from FOLDER."


def check(look: Look) -> Iterator[Finding]:
    """Every blob's bytes, then garbage older than its grace."""
    if Blob.objects.exists():
        blobs.require()
    for blob in chain.from_iterable(batches.rows(Blob.objects.all())):
        look.tick("blobs")
        found = _fault(blob, look)
        # A collector may have been faster than this look.
        if found and Blob.objects.filter(pk=blob.pk).exists():
            if found.code != "blob.size":
                look.bad.add(blob.pk)
            yield found
    yield from _garbage(look)


def _fault(blob: Blob, look: Look) -> Finding | None:
    try:
        size = blobs.size(blob.pk)
        good = size == blob.size if look.quick and size == blob.size else _digest(blob.pk) == (blob.pk, size)
    except OSError:
        return _lost("blob.missing", blob, "its bytes are not in the store", look)
    if not good:
        return _lost("blob.damaged", blob, f"the store holds {size:,} other bytes under its digest", look)
    if size != blob.size:
        return Finding(
            code="blob.size",
            where=blob.pk,
            message=f"its row says {blob.size:,} bytes; the bytes are right and {size:,}",
            repair="write the true size into its row",
            mend=partial(Blob.objects.filter(pk=blob.pk).update, size=size),
        )
    return None


def _digest(sha256: str) -> tuple[str, int]:
    with blobs.open(sha256) as stream:
        return digest(stream)


def _lost(code: str, blob: Blob, what: str, look: Look) -> Finding:
    kept = look.source and look.source / blobs.name(blob.pk)
    if kept and kept.is_file():
        with open(kept, "rb") as stream:
            whole = digest(stream)[0] == blob.pk
        if whole:
            how, mend = f"take its bytes from {kept}", partial(_take, blob.pk, kept)
            return Finding(code=code, where=blob.pk, message=f"{what}; {used_by(blob.pk)}", repair=how, mend=mend)
    if unreferenced().filter(pk=blob.pk).exists():
        mend = partial(collect, blob.pk, look.before)
        return Finding(code=code, where=blob.pk, message=f"{what}; nothing refers to it", repair="drop it", mend=mend)
    return Finding(code=code, where=blob.pk, message=f"{what}; {used_by(blob.pk)}. {ADVICE}")


def _take(sha256: str, source: Path) -> None:
    """Put the right bytes in place of none, or of damaged ones."""
    data = source.open("rb")
    with data:
        blobs.delete(sha256)
        blobs.put(data)


def used_by(sha256: str) -> str:
    """Who refers to a blob, the first few."""
    users: list[str] = []
    for relation in Blob._meta.get_fields(include_hidden=True):
        if relation.one_to_many or relation.one_to_one:
            rows = relation.related_model.objects.filter(**{relation.field.name: sha256})
            users += [_describe(row) for row in rows[:3]]
    return f"used by {', '.join(users[:3])}{' and others' if len(users) > 3 else ''}" if users else "unused"


def _describe(row) -> str:
    owner = getattr(row, "revision", None) or row
    repository = getattr(owner, "repository", None)
    place = f"{repository.path}{f'@{owner.oid[:10]}' if hasattr(owner, 'oid') else ''} " if repository else ""
    return f"{place}{row}"


def _garbage(look: Look) -> Iterator[Finding]:
    for sha256 in chain.from_iterable(batches.pks(unreferenced())):
        if blobs.exists(sha256) and is_old(sha256, look.before):
            message = "nothing refers to it, and it is older than the grace of gc"
            yield _waste("blob.unreferenced", sha256, message, partial(collect, sha256, look.before))
    for sha256 in without_row():
        look.tick("stored bytes without a row")
        if is_old(sha256, look.before):
            message = "stored bytes without a row, older than the grace of gc"
            yield _waste("blob.no_row", sha256, message, partial(collect_without_row, sha256, look.before))
    if count := blobs.sweep_incoming(look.before, dry_run=True):
        message = f"{count} temporary files of killed processes"
        yield _waste("staged.temporary", "incoming", message, partial(blobs.sweep_incoming, look.before))
    for name, remove in staging.strays(look.before):
        yield _waste("staged.stray", name, "bytes of a push that is no longer known", remove)


def _waste(code: str, where: str, message: str, mend: Callable[[], object]) -> Finding:
    return Finding(code=code, where=where, message=message, repair="remove it, as gc would", mend=mend)
