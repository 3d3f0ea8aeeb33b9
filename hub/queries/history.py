"""Where branches are, what revisions hold, and the history behind one: which of them changed a file last."""

from collections.abc import Collection, Sequence

from django.db.models import Q

from hub.models import ManifestEntry, Ref, RefKind, Repository, Revision, heavy

AT_ONCE = 100


def chain(revision: Revision) -> list[int]:
    """The ids of the rows from `revision` to the first one, in one query."""
    parents = dict(Revision.objects.filter(repository=revision.repository_id).values_list("pk", "parent"))
    found, at = [], revision.pk
    while at is not None:
        found.append(at)
        at = parents.get(at)
    return found


def revisions(ids: Sequence[int]) -> list[Revision]:
    """These revisions with their authors, in this order."""
    rows = Revision.objects.filter(pk__in=ids).select_related("author", "version").defer(*heavy("version__")).in_bulk()
    return [rows[pk] for pk in ids]


def last_changes(revision: Revision, files: Collection[str], folders: Collection[str]) -> dict[str, Revision]:
    """Path → the revision that changed it last, of files and of folders as a whole.

    It looks at some revisions at once, from the newest on, until nothing is left to be found.
    """
    line, found, begin = chain(revision), {}, 0
    open_files, open_folders = set(files), set(folders)
    while (open_files or open_folders) and begin < len(line):
        part = line[begin : begin + AT_ONCE + 1]
        states = _states(part, open_files, open_folders)
        for now, before in zip(part, [*part[1:], None], strict=True):
            if before is None and begin + len(part) < len(line):
                break  # It is the first of the next part.
            older = states.get(before, {})
            for path in [*open_files, *open_folders]:
                if states[now].get(path) != older.get(path):
                    found[path] = now
            open_files -= found.keys()
            open_folders -= found.keys()
        begin += AT_ONCE
    rows = {row.pk: row for row in revisions(sorted(set(found.values())))}
    return {path: rows[pk] for path, pk in found.items()}


def _states(ids: Sequence[int], files: Collection[str], folders: Collection[str]) -> dict[int, dict[str, object]]:
    """Revision id → path → what it was there: the digest of a file, all files of a folder. One query."""
    wanted = Q(path__in=files)
    for folder in folders:
        wanted |= Q(path__startswith=f"{folder}/")
    states: dict[int, dict[str, object]] = {pk: {} for pk in ids}
    rows = ManifestEntry.objects.filter(wanted, revision__in=ids).values_list("revision", "path", "blob")
    for pk, path, sha256 in rows:
        if path in files:
            states[pk][path] = sha256
        above = path
        while "/" in above:
            above = above.rpartition("/")[0]
            if above in folders:
                states[pk].setdefault(above, {})[path] = sha256
    return states


def heads(found: Sequence[Repository]) -> dict[int, Revision]:
    """Repository id → the revision that `main` is at, in one query."""
    rows = Ref.objects.filter(repository__in=[row.pk for row in found], kind=RefKind.BRANCH, name="main")
    rows = rows.select_related("revision__version").defer(*heavy("revision__version__"))
    return {ref.repository_id: ref.revision for ref in rows}


def manifests(revisions: Sequence[Revision]) -> dict[int, dict[str, tuple[str, int]]]:
    """Revision id → path → (SHA-256, size), in one query."""
    found: dict[int, dict[str, tuple[str, int]]] = {revision.pk: {} for revision in revisions}
    rows = ManifestEntry.objects.filter(revision__in=found).order_by("path")
    for pk, path, sha256, size in rows.values_list("revision", "path", "blob", "blob__size"):
        found[pk][path] = (sha256, size)
    return found
