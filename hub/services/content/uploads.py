"""Uploads: say what will come, send it in pieces, commit it as one revision. Nothing is visible before the commit.

A cut at any byte is resumed at the offset the server has; a refused commit leaves no row but the upload's own, whose
bytes wait for the mended file until the upload is abandoned or expires.
"""

import logging
from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from typing import BinaryIO

from django.db import transaction
from django.utils import timezone

from composition.formats.content import SNIFF_BYTES, check_paths
from composition.formats.sources import LocalFile
from hub import disk
from hub.errors import Conflict, Invalid, NotFound
from hub.models import BaseModel, Repository, Upload, UploadFile, User, clock
from hub.services import importing, protections, quotas
from hub.services.audit import record
from hub.services.content import first_push, publishing, reuse, staging
from hub.services.content.blob_claims import gone as lost
from hub.services.content.declared_files import read_promise
from hub.services.content.manifest import Entry, Manifest
from hub.services.content.publishing import MAIN, PublishResult
from hub.services.content.received import check_digest, refuse_by_first_bytes, refuse_incomplete
from hub.services.known_bases import hold
from hub.services.refs import lock
from hub.storage import blobs

log = logging.getLogger(__name__)


def begin_upload(
    *,
    actor: User,
    repository: Repository,
    files: Sequence[Mapping[str, object]],
    message: str = "",
    branch: str = MAIN,
    base: BaseModel | None = None,
    deletions: Collection[str] = (),
    may_protected: bool = False,
) -> Upload:
    """Open an upload of `files` [{path, size, sha256}]; its `files` rows say what has `received` how many bytes.

    `repository` may be one of `first_push.wanted`, which the commit makes: a push that is refused leaves none behind.
    Files this repository holds under the same digest are whole at once; what this user's unfinished uploads to this
    repository have of the same files is here as well, and they keep it. Invalid or CompositionError name the first
    file that could never be accepted, Protected a branch that is for those with `may_protected`.
    """
    promised = read_promise(files)
    if not promised and not deletions:
        raise Invalid("Name at least one file to push or to delete.", field="files")
    deletions = sorted({str(path) for path in deletions})
    held = reuse.held(repository, promised.values())
    staging.sweep()
    coming = sum(entry.size for entry in promised.values() if entry not in held)
    disk.require_room(coming)
    with transaction.atomic():
        # The user's row is locked before the repository's, as by all who lock both.
        quotas.require("open_uploads", actor, facts=lambda: _oldest(actor))
        quotas.require("staged_bytes", actor, needed=coming, facts=lambda: _oldest(actor))
        repository = lock(repository) if repository.pk else repository
        place = {"repository": repository if repository.pk else None, "name": repository.name}
        protections.require(repository.namespace, names=[branch], may_protected=may_protected, **place)
        change = publishing.change_of(files=promised, deletions=deletions, branch=branch)
        head = publishing.head_of(repository, branch)
        before = publishing.manifest_of(head)
        after = publishing.changed(before, change.files, change.deletions, False)
        check_paths(list(after))
        quotas.refuse_many_files(repository.namespace, len(after), before=len(before))
        quotas.expect(repository.namespace, promised.values())
        base = base and hold(base)
        upload = Upload.objects.create(
            **_goes_to(repository),
            user=actor,
            message=publishing.clean_message(message),
            branch=branch,
            base=base,
            deletions=deletions,
            parent=head,
        )
        promise(upload, promised, held)
    reuse.share_parts(upload)
    refresh(upload)
    return upload


def promise(upload: Upload, promised: Manifest, held: Collection[Entry]) -> None:
    """The rows of what will come; those `held` are whole at once."""
    UploadFile.objects.bulk_create(
        UploadFile(
            upload=upload,
            path=path,
            size=entry.size,
            sha256=entry.sha256,
            blob_id=entry.sha256 if entry in held else None,
        )
        for path, entry in promised.items()
    )


def refresh(upload: Upload) -> list[UploadFile]:
    """The upload's files with `received` as the disk has it, by path."""
    rows = list(upload.files.order_by("path"))
    if upload.committed_at is None:
        stale = []
        for row in rows:
            on_disk = staging.received(row)
            if row.received != on_disk:
                row.received = on_disk
                stale.append(row)
        UploadFile.objects.bulk_update(stale, ["received"])
    return rows


def append(*, upload: Upload, path: str, offset: int, stream: BinaryIO, goes_on: bool = False) -> int:
    """Receive bytes of one file from `offset` on; returns how many are here then. What came before a cut is kept.

    They are safe on the disk then, unless the request `goes_on`: then they are when its last bytes are.

    Conflict, with `received`, where `offset` is not the end of what is here. Invalid where more comes than promised,
    CompositionError where the first bytes are of a kind that is never accepted; then the bytes are dropped.
    """
    _refuse_committed(upload)
    _touch(upload)
    file = upload.files.filter(path=path).first()
    if file is None:
        raise NotFound(f"This upload has no file {path!r}; begin one that names it.", code="upload.file_not_found")
    if file.blob_id:
        return file.size
    with staging.locked(staging.path_of(file)) as out:
        here = staging.received(file)
        if offset != here:
            raise Conflict(
                f"{path} has {here} bytes here, and this piece begins at {offset}; send from {here} on.",
                code="upload.offset",
                received=here,
            )
        try:
            more = staging.append(file, out, stream, goes_on=goes_on)
            if here < SNIFF_BYTES and staging.received(file) >= min(SNIFF_BYTES, file.size):
                refuse_by_first_bytes(file, upload.files.values_list("path", flat=True))
        finally:
            file.received = staging.received(file)
            open_still = UploadFile.objects.filter(pk=file.pk).update(received=file.received)
            _touch(upload)
        if not open_still:
            staging.remove(upload)
            raise gone()
        if more:
            raise Invalid(
                f"{path} was promised with {file.size} bytes and more were sent; begin again with its true size.",
                code="upload.too_long",
                received=file.received,
                size=file.size,
            )
    return file.received


def onward(*, upload: Upload, path: str) -> staging.Onward | None:
    """Who takes the rest of a request's body after `append` has taken its begin; None where the bytes are known."""
    file = upload.files.filter(path=path, blob=None).first()
    return file and staging.Onward(file)


def commit_upload(*, actor: User, upload: Upload, may_protected: bool = False) -> PublishResult:
    """Check every byte, then publish all files as one revision. Committing again gives the same revision.

    Raises Conflict `upload.incomplete`, Invalid `upload.digest` (that file starts anew), and what publishing raises.
    """
    with staging.whole(upload.pk):
        if done := _done(upload):
            return done
        if upload.is_of_base:
            raise Conflict("This upload is of a base; commit it at /base-commit.", code="upload.other_kind")
        try:
            return _publish(actor, upload, may_protected)
        except FileNotFoundError as error:
            # Somebody cleaned the disk between one step and the next.
            refuse_incomplete(refresh(upload))
            log.warning("upload %s lost bytes of the store while it was committed", upload.pk, exc_info=error)
            raise lost("of a file") from error


def _publish(actor: User, upload: Upload, may_protected: bool) -> PublishResult:
    """Check and publish an upload that is held."""
    _touch(upload)
    rows = refresh(upload)
    change = publishing.change_of(
        files={row.path: (row.sha256, row.size) for row in rows},
        deletions=upload.deletions,
        branch=upload.branch,
        since=upload.parent,
    )
    refuse_incomplete(rows)
    staged = {row.path: row for row in rows if row.blob_id is None}
    for row in staged.values():
        staging.path_of(row).touch()
    sources = {path: LocalFile(staging.path_of(row)) for path, row in staged.items()}
    for row in staged.values():
        check_digest(row)
    proven = {sources[row.path].path: (row.sha256, row.size) for row in staged.values()}
    repository = first_push.target(upload)
    base, folder = upload.base, staging.folder(upload)
    made = importing.imported(repository, change, sources, base=base, folder=folder)
    if made:
        change, sources, base = made.change, made.sources, made.base
    change = importing.without_stale_originals(change, upload.parent)
    checked = publishing.check_change(repository=repository, change=change, base=base, sources=sources)
    checked = made.told(checked) if made else checked
    for source in sources.values():
        blobs.add(source.path, link=True, known=proven.get(source.path))
    with transaction.atomic():
        result = publishing.publish(
            actor=actor,
            repository=first_push.settle(actor, upload),
            files=change.files,
            deletions=change.deletions,
            message=upload.message,
            branch=upload.branch,
            base=base,
            since=upload.parent,
            checked=checked,
            may_protected=may_protected,
        )
        done = {"committed_at": timezone.now(), "revision": result.revision, "repository": result.revision.repository}
        if not Upload.objects.filter(pk=upload.pk, committed_at=None).update(**done):
            raise gone()
        # What is published is held by its revision; the upload holds nothing any more.
        upload.files.update(blob=None)
    for field, value in done.items():
        setattr(upload, field, value)
    staging.remove(upload)
    return result


def abandon_upload(*, actor: User, upload: Upload) -> None:
    """Forget an upload and its bytes; what it published stays. NotFound where another request was first.

    The bytes go first, so that there is room for the rest on a full disk.
    """
    with staging.whole_even_on_a_full_disk(upload.pk):
        staging.remove_bytes(upload)
        with transaction.atomic():
            deleted, _ = Upload.objects.filter(pk=upload.pk).delete()
            if deleted:
                keys = {"namespace": upload.namespace, "repository": upload.repository}
                record(actor, "upload.abandon", upload.path, upload=str(upload.pk), **keys)
        staging.remove(upload)
    if not deleted:
        raise gone()


def _goes_to(repository: Repository) -> dict[str, object]:
    """The columns of an upload that say where it goes."""
    if repository.pk:
        return {"repository": repository}
    return {name: getattr(repository, name) for name in ("namespace", "name", "kind", "visibility")}


def _oldest(user: User) -> dict[str, list[str]]:
    """The user's uploads that have been open the longest, by id: to abandon."""
    rows = Upload.objects.filter(user=user, committed_at=None).order_by("created_at")
    return {"uploads": [str(pk) for pk in rows.values_list("pk", flat=True)[:10]]}


def _touch(upload: Upload) -> None:
    """Note that somebody is at it, so that it doesn't expire; once a minute is enough."""
    now = timezone.now()
    if abs(now - upload.touched_at) > timedelta(minutes=1):
        upload.touched_at = now
        Upload.objects.filter(pk=upload.pk).update(touched_at=clock.now())


def _refuse_committed(upload: Upload) -> None:
    if upload.committed_at:
        raise Conflict("This upload is already committed; begin another one.", code="upload.committed")


def gone() -> NotFound:
    """The refusal for an upload that is no longer there."""
    return NotFound("This upload was abandoned or has expired; begin again.", code="upload.gone")


def _done(upload: Upload) -> PublishResult | None:
    """What the upload has published already; None while it is open. NotFound where it no longer exists."""
    current = Upload.objects.select_related("revision__version").filter(pk=upload.pk).first()
    if current is None or (current.committed_at and current.revision is None):
        staging.remove(upload)
        raise gone()
    if current.committed_at is None:
        return None
    staging.remove(upload)
    return PublishResult(current.revision, current.revision.version, False)
