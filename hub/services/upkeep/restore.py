"""Restoring a backup: everything is verified by its digest, bytes come first, then all rows in one transaction.

Whatever goes wrong leaves the rows as they were; bytes without rows are garbage, which gc removes.
"""

import json
from collections.abc import Callable
from pathlib import Path

from django.apps import apps
from django.conf import settings
from django.core.management import call_command
from django.db import connection, transaction
from django.db.migrations.exceptions import IrreversibleError
from django.db.migrations.executor import MigrationExecutor

from hub import queries
from hub.env import env
from hub.errors import Conflict, Invalid
from hub.runtime.site import running
from hub.services.upkeep import tables
from hub.services.upkeep.backup import BLOBS, FORMAT, MANIFEST, SECRETS, SNAPSHOTS, TABLES, digest_of, whole
from hub.storage import blobs, digest

# Tables that every migrated database has rows in, before anyone used it.
MADE_BY_MIGRATING = ("auth", "contenttypes")


def read_manifest(folder: Path, name: str | None = None) -> tuple[Path, dict]:
    """The snapshot's folder and manifest, with every file but the blobs verified. Invalid for what is not whole."""
    names = whole(folder)
    if not names:
        left = " There is one that was interrupted; it can't be restored." if _interrupted(folder) else ""
        raise Invalid(f"{folder} holds no backup.{left} Give the folder that manage.py backup wrote to.")
    if name is not None and name not in names:
        raise Invalid(f"{folder} holds no backup {name!r}; there are {', '.join(names)}.")
    place = folder / SNAPSHOTS / (name or names[-1])
    try:
        manifest = json.loads((place / MANIFEST).read_bytes())
        good = manifest["sha256"] == digest_of(manifest)
    except (ValueError, KeyError, TypeError):
        good = False
    if not good:
        raise Invalid(f"{place / MANIFEST} has changed since it was written; restore another backup of {folder}.")
    if manifest["format"] != FORMAT:
        raise Invalid(f"{place} has the format {manifest['format']}; this release reads {FORMAT}. Upgrade the hub.")
    for path, sha256 in manifest["files"].items():
        try:
            with (place / path).open("rb") as stream:
                right = digest(stream)[0] == sha256
        except OSError:
            right = False
        if not right:
            raise Invalid(f"{place / path} is missing or has changed since it was written; restore another backup.")
    return place, manifest


def restore(
    folder: Path, *, name: str | None = None, replace: bool = False, say: Callable[[str], None] = lambda text: None
) -> dict:
    """Put a backup in the place of what this hub holds; its manifest. `name` is one of `whole`, else the newest.

    Conflict where the hub is running, holds something and `replace` isn't given, or is older than the backup.
    """
    place, manifest = read_manifest(folder, name)
    _refuse_running()
    _refuse_full(replace)
    _check_blobs(folder, place, manifest)
    executor = MigrationExecutor(connection)
    wanted = [tuple(node) for node in manifest["migrations"]]
    unknown = [node for node in wanted if node not in executor.loader.graph.nodes]
    if unknown:
        raise Conflict(
            f"The backup was made by a later release, with the migration {'.'.join(unknown[0])}. Upgrade the hub to "
            "that release, then restore.",
            code="restore.newer",
        )
    _put_blobs(folder, place, manifest, say)
    _migrate_to(executor, wanted)
    state = MigrationExecutor(connection).loader.project_state(wanted).apps
    with transaction.atomic():
        counts = tables.load(place / TABLES, manifest["tables"], state)
        wrong = [table["model"] for table in manifest["tables"] if counts[table["model"]] != table["rows"]]
        if wrong:
            raise Invalid(f"{wrong[0]}: {counts[wrong[0]]} rows were read, not as many as the backup says.")
    call_command("migrate", interactive=False, verbosity=0)
    say(f"  {sum(counts.values()):,} rows")
    if SECRETS in manifest["files"]:
        _restore_secrets(json.loads((place / SECRETS).read_text()), say)
    return manifest


def holds() -> dict[str, int]:
    """How many rows of each table this hub holds, leaving out the empty ones; {} where it was never migrated."""
    there = set(connection.introspection.table_names())
    counts = {}
    for model in apps.get_models():
        used = model._meta.app_label not in MADE_BY_MIGRATING and model not in tables.MOMENTARY
        if used and model._meta.db_table in there and (count := model._base_manager.count()):
            counts[str(model._meta.verbose_name_plural)] = count
    return counts


def _interrupted(folder: Path) -> bool:
    return any((folder / SNAPSHOTS).glob(".part-*"))


def _refuse_running() -> None:
    there = running(settings.HUB_DATA)
    live = "hub_workernode" in connection.introspection.table_names() and queries.live_workers()
    if there or live:
        who = f"at {there['url']}" if there else f"with the worker {live[0].name}"
        raise Conflict(f"The hub is running {who}. Stop it, then restore.", code="restore.running")


def _refuse_full(replace: bool) -> None:
    found = holds()
    if found and not replace:
        told = [what for what in ("users", "repositories", "versions", "jobs") if what in found] or list(found)[:4]
        most = ", ".join(f"{found[what]:,} {what}" for what in told)
        raise Conflict(
            f"This hub is not empty: it holds {most}. Restore into an empty one, or give --replace: then all of that "
            "is deleted, and the backup takes its place.",
            code="restore.full",
        )


def _listed(place: Path, manifest: dict):
    missing = set(manifest["missing"])
    with (place / BLOBS).open() as lines:
        for line in lines:
            sha256, size = json.loads(line)
            if sha256 not in missing:
                yield sha256, size


def _check_blobs(folder: Path, place: Path, manifest: dict) -> None:
    """All bytes are there in their sizes; their digests are computed as they are copied, before a row is written."""
    for sha256, size in _listed(place, manifest):
        path = folder / "blobs" / blobs.name(sha256)
        if not path.is_file() or path.stat().st_size != size:
            raise Invalid(f"{path} is missing or has another size than {size:,} bytes: the backup is damaged.")


def _put_blobs(folder: Path, place: Path, manifest: dict, say: Callable[[str], None]) -> None:
    count = 0
    for sha256, size in _listed(place, manifest):
        path = folder / "blobs" / blobs.name(sha256)
        with path.open("rb") as stream:
            if digest(stream) != (sha256, size):
                raise Invalid(f"{path} does not have the digest of its name: the backup is damaged.")
        if not _there(sha256, size):
            blobs.delete(sha256)
            with path.open("rb") as stream:
                blobs.put(stream)
        count += 1
        if count % 1000 == 0:
            say(f"  {count:,} blobs")
    say(f"  {count:,} blobs")


def _there(sha256: str, size: int) -> bool:
    """Whether the store has the very bytes already."""
    try:
        with blobs.open(sha256) as stream:
            return digest(stream) == (sha256, size)
    except FileNotFoundError:
        return False


def _migrate_to(executor: MigrationExecutor, wanted: list[tuple[str, str]]) -> None:
    """Bring the tables to the release that wrote the backup; nothing where that is this one."""
    try:
        executor.migrate(wanted)
    except (IrreversibleError, NotImplementedError) as error:
        raise Conflict(
            f"The database can't go back to the release that wrote the backup ({error}). Give an empty database "
            "(DATABASE_URL) and restore into that.",
            code="restore.older",
        ) from None


def _restore_secrets(kept: dict[str, str], say: Callable[[str], None]) -> None:
    given = env("HUB_SECRET_KEY")
    for name, text in kept.items():
        if name == "secret_key" and given:
            if given != text:
                say("  HUB_SECRET_KEY is not the backup's key, which sessions and two-factor secrets need")
            continue
        path = settings.HUB_DATA / name
        path.unlink(missing_ok=True)
        path.touch(mode=0o600)
        path.write_text(text)
    say("  secrets")
