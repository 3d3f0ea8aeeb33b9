"""Restoring a backup: everything is verified by its digest, bytes come first, then all rows in one transaction.

Whatever goes wrong leaves the rows as they were; bytes without rows are garbage, which gc removes. Tables are changed
before that transaction, so a database that holds something is only taken forward to the backup's release, never back.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from django.apps import apps
from django.conf import settings
from django.core.management import call_command
from django.db import connection, transaction
from django.db.migrations.exceptions import IrreversibleError
from django.db.migrations.executor import MigrationExecutor

from hub import queries
from hub.errors import Conflict, Invalid
from hub.runtime.site import running
from hub.sealed.keys import OLD_KEYS, restore_keys, write_secret
from hub.services.upkeep import tables
from hub.services.upkeep.backup import (
    BLOBS,
    FORMAT,
    MANIFEST,
    SECRETS,
    SIGNING_KEY,
    SNAPSHOTS,
    TABLES,
    WITHOUT_SECRETS,
    digest_of,
    whole,
)
from hub.storage import blobs, digest

# Tables that every migrated database has rows in, before anyone used it.
MADE_BY_MIGRATING = ("auth", "contenttypes")
EMPTY = "an empty database: a new HUB_DATA, or another DATABASE_URL"


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """When the backup was made, and the digests whose bytes neither it nor this hub's store has."""

    made_at: str
    lost: list[str]


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
    folder: Path,
    *,
    name: str | None = None,
    replace: bool = False,
    without_damaged: bool = False,
    say: Callable[[str], None] = lambda text: None,
) -> Restored:
    """Put a backup in the place of what this hub holds. `name` is one of `whole`, else the newest.

    Conflict where the hub is running, holds something and `replace` isn't given, or code, database and backup are of
    releases that don't fit. Invalid where bytes of the backup are damaged; `without_damaged` goes on without them.
    """
    place, manifest = read_manifest(folder, name)
    _refuse_running()
    executor = MigrationExecutor(connection)
    wanted = [tuple(node) for node in manifest["migrations"]]
    _refuse_other_releases(executor, wanted)
    _refuse_full(replace)
    lost = _put_blobs(folder, place, say)
    expected = set(manifest["missing"])
    damaged = [sha256 for sha256 in lost if sha256 not in expected]
    if damaged and not without_damaged:
        raise Invalid(
            f"{len(damaged):,} blobs of this backup are missing or damaged, such as {_kept(folder, damaged[0])}, and "
            f"the store here lacks them too. The hub that wrote it may still have them: manage.py backup {folder} "
            "--verify there copies them again. Or restore all the rest with --without-damaged.",
            code="restore.damaged",
        )
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
    else:
        say(f"  {WITHOUT_SECRETS}")
    return Restored(made_at=manifest["made_at"], lost=lost)


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
    # Of a database that is not migrated yet, names alone can be read.
    tabled = "hub_workernode" in connection.introspection.table_names()
    live = queries.live_workers().values_list("name", flat=True).first() if tabled else None
    if there or live:
        who = f"at {there['url']}" if there else f"with the worker {live}"
        raise Conflict(f"The hub is running {who}. Stop it, then restore.", code="restore.running")


def _refuse_other_releases(executor: MigrationExecutor, wanted: list[tuple[str, str]]) -> None:
    """Neither the backup nor the database is later than this code, and no row stands in the way of going back."""
    loader = executor.loader
    unknown = [node for node in wanted if node not in loader.graph.nodes]
    if unknown:
        raise Conflict(
            f"The backup was made by a later release, with the migration {'.'.join(unknown[0])}. Upgrade the hub to "
            "that release, then restore.",
            code="restore.newer",
        )
    later = sorted(
        node for node in loader.applied_migrations if node[0] in loader.migrated_apps and node not in loader.graph.nodes
    )
    if later:
        raise Conflict(
            f"This database was migrated by a later release, with the migration {'.'.join(later[0])}. Give {EMPTY}; or "
            "restore with that release.",
            code="restore.database_newer",
        )
    if any(backwards for _, backwards in executor.migration_plan(wanted)) and holds():
        raise Conflict(
            "The backup was made by an earlier release, and this hub is not empty: to take its database back would "
            f"drop what later releases brought before a row of the backup is read. Give {EMPTY}.",
            code="restore.older",
        )


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


def _kept(folder: Path, sha256: str) -> Path:
    return folder / "blobs" / blobs.name(sha256)


def _listed(place: Path) -> Iterator[tuple[str, int]]:
    with (place / BLOBS).open() as lines:
        for line in lines:
            sha256, size = json.loads(line)
            yield sha256, size


def _put_blobs(folder: Path, place: Path, say: Callable[[str], None]) -> list[str]:
    """All bytes into the store, each by its digest; those that are good neither here nor in the backup."""
    count, lost = 0, []
    for sha256, size in _listed(place):
        if not _there(sha256, size) and not _put(_kept(folder, sha256), sha256, size):
            lost.append(sha256)
            continue
        count += 1
        if count % 1000 == 0:
            say(f"  {count:,} blobs")
    say(f"  {count:,} blobs")
    return lost


def _put(path: Path, sha256: str, size: int) -> bool:
    """Put a file into the store, in the place of none or of damaged bytes; False where it isn't what its name says."""
    try:
        with path.open("rb") as stream:
            good = digest(stream) == (sha256, size)
    except OSError:
        return False
    if good:
        blobs.delete(sha256)
        with path.open("rb") as stream:
            blobs.put(stream)
    return good


def _there(sha256: str, size: int) -> bool:
    """Whether the store has the very bytes already."""
    try:
        with blobs.open(sha256) as stream:
            return digest(stream) == (sha256, size)
    except OSError:
        return False


def _migrate_to(executor: MigrationExecutor, wanted: list[tuple[str, str]]) -> None:
    """Bring the tables to the release that wrote the backup; nothing where that is this one."""
    try:
        executor.migrate(wanted)
    except (IrreversibleError, NotImplementedError) as error:
        raise Conflict(
            f"The database can't go back to the release that wrote the backup ({error}). Give {EMPTY}.",
            code="restore.older",
        ) from None


def _restore_secrets(kept: dict, say: Callable[[str], None]) -> None:
    if not restore_keys(settings.HUB_DATA, kept["secret_key"], kept.get("old_secret_keys", [])):
        say(f"  HUB_SECRET_KEY is not the backup's key; that is in {OLD_KEYS} now, for what was sealed with it")
    if SIGNING_KEY in kept:
        write_secret(settings.HUB_DATA / SIGNING_KEY, kept[SIGNING_KEY])
    say("  secrets")
