"""The writing way: what a client asks before it commits, the commit, and squashing a branch."""

import base64
import binascii
import hashlib
import io

from rest_framework import exceptions
from rest_framework.response import Response

from hub import access
from hub.hf.places import Place, place, proposing
from hub.hf.shapes.ndjson import read_commit
from hub.hf.view import View, warned
from hub.names import PULL
from hub.services.commits import committing, preflight, squashing

MOST_FILES = 5000
SAMPLE_BYTES = 1024


class Writing(View):
    """Of what changes the files of a branch."""

    def place(self, type: str, namespace: str, name: str, rev: str = "") -> Place:
        """The repository, where the viewer may write to it; with `?create_pr=1` and for `refs/pr/N`, may propose."""
        if self.says("create_pr") or PULL.fullmatch(rev):
            return proposing(self.viewer, type, namespace, name, rev)
        return place(self.viewer, type, namespace, name, "write")

    def may_protected(self, here: Place) -> bool:
        """Whether the viewer may move protected refs."""
        return access.may(self.viewer, here.repository, "admin")


class Preupload(Writing):
    """`POST …/preupload/{rev}`: each file as LFS or inside the commit, and what is there of it."""

    def post(self, request, type, namespace, name, rev):
        here = self.place(type, namespace, name, rev)
        branch = committing.branch_of(here.repository, rev, pulls=True)
        body = self.body()
        ignore = body.get("gitIgnore") or ""
        files = _offered(body.get("files"))
        found = preflight.answers(here.repository, branch, files, ignore if isinstance(ignore, str) else "")
        shown = [
            {
                "path": answer.path,
                "uploadMode": "lfs" if answer.is_lfs else "regular",
                "shouldIgnore": bool(answer.left_out),
                **({"oid": answer.oid} if answer.oid else {}),
            }
            for answer in found
        ]
        return Response({"files": shown}, headers=_left_out(found))


class Commit(Writing):
    """`POST …/commit/{rev}`: the body is read line by line, after the viewer's right to commit is known."""

    front = {"POST": "file"}

    def post(self, request, type, namespace, name, rev):
        here, opening = self.place(type, namespace, name, rev), self.says("create_pr") and not PULL.fullmatch(rev)
        branch = committing.branch_of(here.repository, rev, pulls=True)
        actor, length = self.actor(), int(request.META.get("CONTENT_LENGTH") or 0)
        with committing.bench(actor=actor, length=length) as inline:
            result = committing.commit(
                actor=actor,
                repository=here.repository,
                branch=branch,
                proposal=read_commit(request.stream or io.BytesIO(), inline.keep),
                inline=inline,
                may_protected=self.may_protected(here),
                opening=opening,
            )
        oid, version = result.revision.oid, result.version
        answer = {
            "success": True,
            "commitOid": oid,
            "commitUrl": self.address(f"/{here.prefix}{here.id}/commit/{oid}"),
            "hookOutput": "",
            "version": version and version.label,
        }
        if opening and result.pull:
            answer["pullRequestUrl"] = self.address(f"/{here.prefix}{here.id}/discussions/{result.pull.number}")
        return Response(answer, headers=warned(oid[:10], _said(result)))


class Squash(Writing):
    """`POST …/super-squash/{branch}` {"message"}."""

    def post(self, request, type, namespace, name, rev):
        here = self.place(type, namespace, name, rev)
        branch = committing.branch_of(here.repository, rev, pulls=True)
        message = self.body().get("message")
        revision = squashing.squash(
            actor=self.actor(),
            repository=here.repository,
            branch=branch,
            message=message if isinstance(message, str) else "",
            may_protected=self.may_protected(here),
        )
        return Response({"success": True, "commitOid": revision.oid})


def _offered(files: object) -> list[preflight.Offered]:
    if not isinstance(files, list) or len(files) > MOST_FILES:
        raise exceptions.ParseError(f'Send {{"files": […]}} with at most {MOST_FILES:,} files.')
    return [_file(file) for file in files]


def _file(file: object) -> preflight.Offered:
    path, size, sample = (file.get(key) for key in ("path", "size", "sample")) if isinstance(file, dict) else (0, 0, 0)
    if not isinstance(path, str) or not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise exceptions.ParseError('A file is {"path": text, "size": bytes, "sample": base64 of its first bytes}.')
    try:
        head = base64.b64decode(sample or "", validate=True)[:SAMPLE_BYTES]
    except (binascii.Error, ValueError, TypeError) as error:
        raise exceptions.ParseError(f"The sample of {path[:100]} is not base64.") from error
    return preflight.Offered(path=path, size=size, head=head)


def _left_out(found: list[preflight.Answer]) -> dict[str, str]:
    kinds: dict[str, list[str]] = {}
    for answer in found:
        if answer.left_out:
            kinds.setdefault(answer.left_out, []).append(answer.path)
    said = [
        f"{', '.join(paths[:3])}{f' and {len(paths) - 3} more' if len(paths) > 3 else ''} ({what})"
        for what, paths in kinds.items()
    ]
    text = f"Not pushed: {'; '.join(said)}." if said else ""
    return warned(hashlib.sha256(text.encode()).hexdigest()[:10], [text] if text else [])


def _said(result) -> list[str]:
    """What the checks found and did not refuse, and what is missing where this is no version yet."""
    if missing := committing.whats_missing(result):
        return [f"This is no version yet: {' and '.join(missing)} is missing. Commit what is missing to make one."]
    return result.warnings
