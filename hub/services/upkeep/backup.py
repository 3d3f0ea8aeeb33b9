"""Backups: a folder with every blob by its digest, once, and one small folder a backup with all rows.

    FOLDER/blobs/aa/bb/<sha256>              shared by all backups in FOLDER; a second one copies what is new
    FOLDER/snapshots/<time>/manifest.json    what belongs to it, each file with its SHA-256
    FOLDER/snapshots/<time>/tables/*.jsonl   all rows at one moment
    FOLDER/snapshots/<time>/blobs.jsonl      [sha256, size] of the bytes these rows refer to

Rows first, in one read transaction, then bytes. Bytes never change, and a lease keeps the collector from deleting any
meanwhile, so what the rows refer to is there. A backup is written under another name, and renamed when it is whole.
Disks rot: bytes that FOLDER has are believed by their size, and read again only where that is asked for.
"""

import errno
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from django.conf import settings
from django.db import connection
from django.db.migrations.loader import MigrationLoader

from hub.errors import Conflict, Invalid
from hub.sealed.keys import write_secret
from hub.services.content.manifest import canonical_json
from hub.services.upkeep import tables
from hub.services.upkeep.leases import BACKUP, Lease, busy, lease
from hub.services.upkeep.snapshot import snapshot
from hub.storage import CHUNK, DIGEST, blobs, digest, sync_folder

FORMAT = 1
PART = ".part-"
SNAPSHOTS, MANIFEST, TABLES, BLOBS, SECRETS = "snapshots", "manifest.json", "tables", "blobs.jsonl", "secrets.json"
SIGNING_KEY = "signing_key.pem"
WITHOUT_SECRETS = (
    "Without secrets: tokens and passwords work after a restore, sessions end, and the secrets of second factors and "
    "webhooks need the old key (HUB_SECRET_KEY or HUB_OLD_SECRET_KEYS), or each webhook a new secret."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What a backup holds, and what it had to copy, of which `damaged` took the place of rotten bytes. `missing` are
    digests whose bytes the store has lost."""

    name: str
    rows: int
    blobs: int
    bytes: int
    copied: int
    copied_bytes: int
    damaged: int
    missing: list[str]


def back_up(
    folder: Path, *, secrets: bool = False, verify: bool = False, say: Callable[[str], None] = lambda text: None
) -> Done:
    """Write a backup into `folder`, beside those that are there. Conflict `backup.busy` while another runs.

    With `verify` the bytes that are there already are read, and copied again where they are not what they were.
    """
    try:
        for name in ("blobs", SNAPSHOTS):
            (folder / name).mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise Invalid(f"{folder} can't be written to: {error.strerror}. Give a folder of yours.") from None
    with lease(BACKUP) as held:
        if held is None:
            raise busy("backup", BACKUP)
        for left in (folder / SNAPSHOTS).glob(f"{PART}*"):
            shutil.rmtree(left)
        name = f"{datetime.now(UTC):%Y%m%dT%H%M%S%fZ}"
        part = folder / SNAPSHOTS / f"{PART}{name}"
        (part / TABLES).mkdir(parents=True, mode=0o700)
        with snapshot() as alias:
            written = tables.dump(alias, part / TABLES, sessions=secrets, tick=lambda: _still(held))
            _list_blobs(alias, part / BLOBS)
        say(f"  {sum(table['rows'] for table in written):,} rows of {len(written)} tables")
        done = _copy_blobs(folder, part / BLOBS, held, verify, say)
        if secrets:
            _write_secrets(part / SECRETS)
        _write_manifest(part, written, done)
        _still(held)
        os.replace(part, folder / SNAPSHOTS / name)
        sync_folder(folder / SNAPSHOTS)
    return Done(name=name, rows=sum(table["rows"] for table in written), **done)


def whole(folder: Path) -> list[str]:
    """The names of the backups in `folder` that are whole, the newest last."""
    return sorted(path.parent.name for path in (folder / SNAPSHOTS).glob(f"[!.]*/{MANIFEST}"))


def forget(folder: Path, *, keep: int) -> tuple[int, int]:
    """Remove all but the newest `keep` backups, and the bytes that none of those refers to: (backups, bytes).

    Conflict `backup.busy` while a backup runs, which may count on bytes that are there.
    """
    with lease(BACKUP) as held:
        if held is None:
            raise busy("backup", BACKUP)
        return _forget(folder, keep)


def _forget(folder: Path, keep: int) -> tuple[int, int]:
    names = whole(folder)
    for name in names[:-keep]:
        doomed = folder / SNAPSHOTS / f"{PART}{name}"
        os.replace(folder / SNAPSHOTS / name, doomed)
        shutil.rmtree(doomed)
    wanted = set()
    for name in names[-keep:]:
        listing = folder / SNAPSHOTS / name / BLOBS
        try:
            with listing.open() as lines:
                wanted |= {bytes.fromhex(json.loads(line)[0]) for line in lines}
        except (OSError, ValueError, LookupError, TypeError):
            raise Conflict(
                f"{listing} can't be read, so nobody knows which bytes that backup needs, and none were removed. It "
                f"can't be restored: remove {listing.parent}, then run the backup with --keep again.",
                code="backup.damaged",
            ) from None
    freed = 0
    for path in (folder / "blobs").glob("??/??/*"):
        # What has no digest for its name was being copied when its process was killed.
        if not DIGEST.fullmatch(path.name) or bytes.fromhex(path.name) not in wanted:
            freed += path.stat().st_size
            path.unlink()
    return len(names[:-keep]), freed


def _still(held: Lease) -> None:
    if not held.renew():
        raise Conflict("This backup was silent so long that it lost its lease; start it again.", code="backup.lost")


def _list_blobs(alias: str, path: Path) -> None:
    found = tables.referenced_blobs(alias).order_by("pk").values_list("pk", "size")
    with path.open("w") as out:
        out.writelines(json.dumps(row) + "\n" for row in found.iterator(chunk_size=2000))


def _copy_blobs(folder: Path, listing: Path, held: Lease, verify: bool, say: Callable[[str], None]) -> dict:
    """Copy what isn't there yet, each under its digest once it was read whole and right."""
    done = {"blobs": 0, "bytes": 0, "copied": 0, "copied_bytes": 0, "damaged": 0, "missing": []}
    with listing.open() as lines:
        for line in lines:
            _still(held)
            sha256, size = json.loads(line)
            target = folder / "blobs" / blobs.name(sha256)
            there = target.is_file() and target.stat().st_size == size
            if there and verify and not _right(target, sha256, held):
                there, done["damaged"] = False, done["damaged"] + 1
                say(f"  {target} is damaged")
            if not there and not _copy(sha256, size, target, held):
                done["missing"].append(sha256)
                say(f"  {sha256} is missing or damaged in the store; see manage.py fsck")
                continue
            done["blobs"], done["bytes"] = done["blobs"] + 1, done["bytes"] + size
            if not there:
                done["copied"], done["copied_bytes"] = done["copied"] + 1, done["copied_bytes"] + size
            if done["blobs"] % 1000 == 0:
                say(f"  {done['blobs']:,} blobs")
    return done


def _right(path: Path, sha256: str, held: Lease) -> bool:
    try:
        with path.open("rb") as stream:
            return digest(_Watched(stream, held))[0] == sha256
    except _Unreadable:
        return False


def _copy(sha256: str, size: int, target: Path, held: Lease) -> bool:
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    part = target.with_name(f"{PART}{uuid.uuid4().hex}")
    try:
        with blobs.open(sha256) as source, part.open("wb") as out:
            computed = digest(_Watched(source, held), out)
            out.flush()
            os.fsync(out.fileno())
        if computed != (sha256, size):
            return False
        part.chmod(0o400)
        os.replace(part, target)
    except (FileNotFoundError, _Unreadable):
        return False
    finally:
        part.unlink(missing_ok=True)
    sync_folder(target.parent)
    return True


class _Unreadable(Exception):
    """A disk can't read these bytes any more."""


class _Watched:
    """A stream that renews the lease as it is read. Raises _Unreadable."""

    def __init__(self, source, held: Lease) -> None:
        self.source, self.held = source, held

    def read(self, count: int = CHUNK) -> bytes:
        _still(self.held)
        try:
            return self.source.read(count)
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            raise _Unreadable from error


def _write_secrets(path: Path) -> None:
    """All keys that something in the rows may be sealed with, and the one that signs bundles."""
    kept = {"secret_key": settings.SECRET_KEY, "old_secret_keys": list(settings.SECRET_KEY_FALLBACKS)}
    if (signing := settings.HUB_DATA / SIGNING_KEY).exists():
        kept[SIGNING_KEY] = signing.read_text()
    write_secret(path, json.dumps(kept))


def _write_manifest(part: Path, written: list[dict], done: dict) -> None:
    files = {}
    for path in sorted(path for path in part.rglob("*") if path.is_file()):
        with path.open("rb") as stream:
            files[str(path.relative_to(part))] = digest(stream)[0]
    applied = MigrationLoader(connection)
    content = {
        "format": FORMAT,
        "made_at": datetime.now(UTC).isoformat(),
        "database": connection.vendor,
        "migrations": sorted(applied.graph.leaf_nodes()),
        "tables": written,
        "blobs": done["blobs"],
        "bytes": done["bytes"],
        "missing": done["missing"],
        "files": files,
    }
    content["sha256"] = digest_of(content)
    with (part / MANIFEST).open("w") as out:
        json.dump(content, out, indent=1)
        out.flush()
        os.fsync(out.fileno())


def digest_of(content: dict) -> str:
    """The SHA-256 of a manifest without its own digest."""
    return hashlib.sha256(canonical_json({key: value for key, value in content.items() if key != "sha256"})).hexdigest()
