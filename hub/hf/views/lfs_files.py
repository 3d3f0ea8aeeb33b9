"""The LFS files of a repository: listed, taken out of its branches, and lent to another repository for a copy."""

from rest_framework import exceptions
from rest_framework.response import Response

from hub import access
from hub.hf.places import place
from hub.hf.view import View, warned
from hub.services.commits import lfs_files
from hub.storage import DIGEST

MOST = 1000
KEPT = "These files are in no branch any more. Revisions and versions that are there keep them: they never change."


class LfsFiles(View):
    """`GET …/lfs-files`, for writers."""

    def get(self, request, type, namespace, name):
        here = place(self.viewer, type, namespace, name, "write")
        return Response([_shape(file) for file in lfs_files.listed(here.repository)])


class LfsFilesBatch(View):
    """`POST …/lfs-files/batch` {"deletions": {"sha": […]}}."""

    little = frozenset({"POST"})

    def post(self, request, type, namespace, name):
        here = place(self.viewer, type, namespace, name, "write")
        deletions = self.body().get("deletions")
        branches = lfs_files.take_out(
            actor=self.actor(),
            repository=here.repository,
            digests=_digests(deletions.get("sha") if isinstance(deletions, dict) else None),
            may_protected=access.may(self.viewer, here.repository, "admin"),
        )
        return Response({"success": True, "branches": branches}, headers=warned(f"lfs {here.id}", [KEPT]))


class LfsFilesDuplicate(View):
    """`POST …/lfs-files/duplicate` {"target": {"type", "name"}, "files": [{"sha256", …}]}, asked of the source."""

    def post(self, request, type, namespace, name):
        source = place(self.viewer, type, namespace, name, "files")
        target, files = (self.body().get(key) for key in ("target", "files"))
        if not isinstance(target, dict) or not isinstance(files, list):
            raise exceptions.ParseError('Send {"target": {"type", "name"}, "files": [{"sha256"}]}.')
        into, _, own = str(target.get("name")).partition("/")
        to = place(self.viewer, f"{target.get('type') or 'model'}s", into, own, "write")
        failed = lfs_files.lend(
            actor=self.actor(),
            source=source.repository,
            target=to.repository,
            digests=_digests([file.get("sha256") if isinstance(file, dict) else None for file in files]),
        )
        return Response({"failed": [{"sha256": sha256, "error": why} for sha256, why in failed.items()]})


def _shape(file: lfs_files.LfsFile) -> dict:
    return {
        "fileOid": file.entry.sha256,
        "filename": file.path,
        "oid": file.entry.sha256,
        "pushedAt": file.pushed_at,
        "ref": f"refs/heads/{file.branch}",
        "size": file.entry.size,
    }


def _digests(given: object) -> list[str]:
    if not isinstance(given, list) or len(given) > MOST:
        raise exceptions.ParseError(f"Give a list of at most {MOST:,} files by their SHA-256.")
    if not all(isinstance(sha256, str) and DIGEST.fullmatch(sha256) for sha256 in given):
        raise exceptions.ParseError("A file is named by its SHA-256, 64 lower-case hex digits.")
    return given
