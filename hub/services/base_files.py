"""A base's own files (weights, tokenizer, configs), for clients that ask this hub for bases as well.

They come by uploads, as a repository's files do: in pieces, resumed where they were cut, and nothing is visible before
the commit. A push says which files the base has then; what it doesn't name is gone. There is no history.
"""

import contextlib
from collections.abc import Collection, Mapping, Sequence

from django.db import transaction
from django.utils import timezone

from composition.formats.content import check_paths
from composition.formats.gate import MAX_SIDE_CONFIG, SIDE_CONFIGS, check_file
from composition.formats.peft.fields import refuse_code
from composition.formats.safetensors_header import parse_header
from composition.formats.strict_json import strict_loads
from hub.errors import Conflict, Invalid, collecting, refuse_all
from hub.models import BaseFile, BaseModel, Upload, UploadFile, User
from hub.queries.base import base_commit, base_manifest
from hub.services import quotas
from hub.services.audit import record
from hub.services.base_configs import checked_config, read_config
from hub.services.base_owners import require_owner
from hub.services.content import reuse, staging, uploads
from hub.services.content.blob_claims import claim_blobs
from hub.services.content.blob_claims import gone as lost
from hub.services.content.checking import CHECKS, LARGE
from hub.services.content.declared_files import read_promise
from hub.services.content.manifest import Entry, Manifest, Source, canonical_json, read_whole, sources_of
from hub.services.content.received import check_digest, refuse_incomplete
from hub.services.known_bases import hold

CONFIG = "config.json"
WEIGHTS = (".safetensors", ".gguf")
INDEX_ENDS = ".safetensors.index.json"
MAX_INDEX = 16 << 20


def begin_base_upload(
    *, actor: User, base: BaseModel, files: Sequence[Mapping[str, object]], site_admin: bool | None = None
) -> Upload:
    """Open an upload of all the files that the base is to have: [{path, size, sha256, head}].

    Those that it has under the same digest need not be sent. `base.owner` for who neither owns it nor administrates,
    Invalid or CompositionError for files that could never be accepted, QuotaExceeded for too many bytes.
    """
    require_owner(actor, base, "push its files", site_admin=site_admin)
    promised = read_promise(files)
    if not any(path.lower().endswith(WEIGHTS) for path in promised):
        raise Invalid(
            "A base's files are its weights with what belongs to them, and this push has none: give the folder that "
            "holds its .safetensors or .gguf.",
            code="base.no_weights",
            field="files",
        )
    check_paths(list(promised))
    held = reuse.held_by_base(base, promised.values())
    staging.sweep()
    coming = sum(entry.size for entry in set(promised.values()) - held)
    staging.require_room(coming)
    with transaction.atomic():
        quotas.require("open_uploads", actor)
        quotas.require("staged_bytes", actor, needed=coming)
        base = hold(base)
        _require_room(actor, base, promised)
        place = {"namespace": actor.namespace, "kind": Upload.OF_BASE}
        upload = Upload.objects.create(base=base, user=actor, **place)
        uploads.promise(upload, promised, held)
    reuse.share_parts(upload)
    uploads.refresh(upload)
    return upload


def commit_base_upload(*, actor: User, upload: Upload, site_admin: bool | None = None) -> Manifest:
    """Check every byte; then the base has these files and no others. Committing again changes nothing.

    Conflict `upload.incomplete` or `base.config`, Invalid `upload.digest` or `base.incomplete`, CompositionError for
    files that are refused; the base keeps what it had.
    """
    base = upload.base
    if base is None:
        raise uploads.gone()
    with staging.whole(upload.pk):
        current = Upload.objects.filter(pk=upload.pk).first()
        if current is None:
            staging.remove(upload)
            raise uploads.gone()
        if current.committed_at:
            return manifest_of_base(base)
        require_owner(actor, base, "push its files", site_admin=site_admin)
        rows = uploads.refresh(upload)
        refuse_incomplete(rows)
        try:
            manifest, staged = _checked(base, rows)
            staging.keep({source: manifest[path] for path, source in staged.items()})
        except FileNotFoundError:  # Somebody cleaned the disk meanwhile.
            staging.look_again(upload)
            refuse_incomplete(uploads.refresh(upload))
            raise lost("of a file") from None
        _store(actor, base, upload, manifest)
        staging.remove(upload)
    return manifest


def manifest_of_base(base: BaseModel) -> Manifest:
    """Path → entry of the files it has, by path."""
    return {path: Entry(*row) for path, row in base_manifest(base).items()}


def _checked(base: BaseModel, rows: Collection[UploadFile]) -> tuple[Manifest, dict[str, staging.Staged]]:
    """What the base is to have, and where the files lie that the store has not got yet; every byte is looked at."""
    manifest = {row.path: Entry(row.sha256, row.size) for row in rows}
    staged = staging.sources([row for row in rows if row.blob_id is None])
    read = sum(manifest[path].size for path in staged)
    with CHECKS.passed() if read > LARGE else contextlib.nullcontext():
        for row in rows:
            if row.path in staged:
                check_digest(row, staged[row.path])
        check_base_files(base, sources_of(manifest) | dict(staged))
    return manifest, staged


def check_base_files(base: BaseModel, sources: Mapping[str, Source]) -> None:
    """Refuse what a base may not have: CompositionError for kinds of files and damaged weights, Conflict
    `base.config` for another model's config, Invalid `base.incomplete` for an index that names missing files."""
    check_paths(list(sources))
    problems: list[Exception] = []
    for path, source in sources.items():
        with collecting(problems):
            check_file(path, source, beside=sources)
            if path.lower().endswith(".safetensors"):
                with source.open() as stream:
                    parse_header(stream, size=source.size, file=path)
            elif path.rpartition("/")[2] in SIDE_CONFIGS:
                _refuse_code(path, source)
    refuse_all(problems)
    if CONFIG in sources:
        _refuse_another_config(base, read_whole(sources[CONFIG]))
    for path in (path for path in sources if path.endswith(INDEX_ENDS)):
        _refuse_missing_parts(path, sources)


def _refuse_code(path: str, source: Source) -> None:
    said = strict_loads(read_whole(source, MAX_SIDE_CONFIG), area="content", what=path, of_a_base=True, file=path)
    refuse_code(said if isinstance(said, dict) else {"content": said}, path)


def _refuse_another_config(base: BaseModel, data: bytes) -> None:
    """The adapters of a base were checked against its config, so that its files can't be another model's."""
    if canonical_json(checked_config(read_config(data))) != canonical_json(checked_config(base.config)):
        raise Conflict(
            f"config.json is not the one that {base} is registered with. Push the files of that model, or register "
            f"yours under another name or revision: hubctl base push FOLDER {base.name} --revision NAME.",
            code="base.config",
            field="files",
        )


def _refuse_missing_parts(path: str, sources: Mapping[str, Source]) -> None:
    """An index (`model.safetensors.index.json`) names the files that hold the tensors."""
    said = strict_loads(read_whole(sources[path], MAX_INDEX), area="content", what=path, file=path)
    weights = said.get("weight_map") if isinstance(said, dict) else None
    folder = path.rpartition("/")[0]
    named = {str(file) for file in weights.values()} if isinstance(weights, dict) else set()
    missing = sorted(file for file in named if (f"{folder}/{file}" if folder else file) not in sources)
    if missing:
        raise Invalid(
            f"{path} names {len(missing)} files that this push has not, {', '.join(missing[:3])} among them. Push the "
            "whole folder.",
            code="base.incomplete",
            field="files",
            missing=missing[:20],
        )


def _store(actor: User, base: BaseModel, upload: Upload, manifest: Manifest) -> None:
    """The rows, in place of those that were there."""
    with transaction.atomic():
        base = hold(base)
        _require_room(actor, base, manifest)
        if not Upload.objects.filter(pk=upload.pk, committed_at=None).update(committed_at=timezone.now()):
            raise uploads.gone()
        upload.files.update(blob=None)
        if set_files(base, manifest):
            record(actor, "base.files", base, commit=base_commit(manifest), files=len(manifest))


def set_files(base: BaseModel, manifest: Manifest) -> bool:
    """Let the base have these files, which are stored and checked, and no others; whether that changes anything."""
    with transaction.atomic():
        claim_blobs(set(manifest.values()))
        if manifest_of_base(base) == manifest:
            return False
        base.files.all().delete()
        rows = [BaseFile(base=base, path=path, blob_id=entry.sha256) for path, entry in manifest.items()]
        BaseFile.objects.bulk_create(rows, batch_size=500)
    return True


def _require_room(actor: User, base: BaseModel, manifest: Manifest) -> None:
    """QuotaExceeded `quota.base_bytes`, of who owns the base: what it has is given back."""
    owner = base.owner or actor
    new = sum(entry.size for entry in set(manifest.values()))
    old = sum(entry.size for entry in set(manifest_of_base(base).values()))
    quotas.require("base_bytes", owner, needed=max(0, new - old), hold=owner == actor)
