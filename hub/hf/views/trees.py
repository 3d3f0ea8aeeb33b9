"""The files of a revision: as a tree, or those that a client names."""

import base64
import binascii

from rest_framework.parsers import FormParser
from rest_framework.response import Response

from hub import queries
from hub.errors import Invalid, NotFound
from hub.hf.paging import limit_of, with_next
from hub.hf.places import place, split
from hub.hf.shapes.trees import Folder, folders, inside, shown
from hub.hf.view import View
from hub.services.content.manifest import Manifest, manifest_of
from hub.services.content.pointers import GitFile, attributes_of, git_files

PAGE, PAGE_EXPANDED = 1000, 100


def items(manifest: Manifest, paths: list[str]) -> dict[str, GitFile | Folder]:
    """Path → file or folder, of these paths that are there, in their order."""
    files = git_files({path: manifest[path] for path in paths if path in manifest}, attributes_of(manifest))
    all_of_them = files | {path: folder for path, folder in folders(manifest).items() if path not in files}
    return {path: all_of_them[path] for path in paths if path in all_of_them}


def listing(revision, found: dict[str, GitFile | Folder], expand: bool) -> list[dict]:
    """The items as they are shown, with the last commit of each where it is asked for."""
    inner = [path for path, item in found.items() if isinstance(item, Folder)]
    changes = queries.last_changes(revision, found.keys() - set(inner), inner) if expand else {}
    return [shown(item, changes.get(path)) for path, item in found.items()]


class Tree(View):
    """`GET …/tree/REV[/PATH]?recursive&expand`."""

    scopes = {"GET": "download"}

    def get(self, request, type, namespace, name, rest):
        found = place(self.viewer, type, namespace, name, "download", files=self.loads_a_model(rest))
        revision, folder = split(found, request, rest)
        manifest, folder, expand = manifest_of(revision), folder.strip("/"), self.says("expand")
        if folder and not inside(manifest, folder, recursive=True):
            missing = NotFound(f"{folder} does not exist on {revision.oid[:10]}", code="file_not_found")
            missing.headers["X-Repo-Commit"] = revision.oid
            raise missing
        every = {**manifest, **folders(manifest)}
        paths = inside(every, folder, recursive=self.says("recursive"))
        cursor, size = self.cursor(), limit_of(self, *[PAGE_EXPANDED if expand else PAGE] * 2)
        rest_of_them = [path for path in paths if path > cursor]
        part = rest_of_them[:size]
        following = _write(part[-1]) if len(rest_of_them) > size else None
        return with_next(self, listing(revision, items(manifest, part), expand), following)

    def cursor(self) -> str:
        """The last path of the page before."""
        try:
            return base64.b64decode(self.query("cursor").encode(), altchars=b"-_", validate=True).decode()
        except (binascii.Error, ValueError):
            raise Invalid("cursor: take it from the Link of the page before.", field="cursor") from None


def _write(path: str) -> str:
    return base64.urlsafe_b64encode(path.encode()).decode()


class PathsInfo(View):
    """`POST …/paths-info/REV`, as a form: the files and folders of these names that are there, in their order."""

    parser_classes = [FormParser]
    scopes = {"POST": "download"}
    little = frozenset({"POST"})

    def post(self, request, type, namespace, name, rest):
        found = place(self.viewer, type, namespace, name, "download")
        revision, path = split(found, request, rest)
        if path:
            raise NotFound(f"Invalid rev id: {rest}", code="revision_not_found")
        paths = list(dict.fromkeys(path.strip("/") for path in request.data.getlist("paths")))
        expand = request.data.get("expand", "").lower() in ("1", "true")
        return Response(listing(revision, items(manifest_of(revision), paths), expand))
