"""What the views of reading answer where the id is that of a base whose files the hub has.

Everybody may see bases. Each function takes the view that was asked, the base, and the rest of the address.
"""

from rest_framework.response import Response

from hub.errors import NotFound
from hub.hf.base_places import BasePlace, Edition
from hub.hf.places import MODELS
from hub.hf.shapes import bases as shapes
from hub.hf.shapes import refs as shapes_of_refs
from hub.hf.shapes.repositories import ALONE
from hub.hf.shapes.trees import folders, inside
from hub.hf.shapes.trees import shown as shown_in_a_tree
from hub.hf.view import View
from hub.hf.views.files import COMMIT, linked
from hub.hf.views.info import SCANNED, expanded
from hub.hf.views.trees import items
from hub.http.file_responses import Content, bytes_response
from hub.services.content.pointers import git_files


def info(view: View, base: BasePlace, rest: str | None = None) -> Response:
    """`GET /api/models/org/name[/revision/REV]`."""
    edition = base.edition(rest)
    wanted = expanded(view, MODELS) or ALONE[MODELS]
    said = shapes.shown(base, edition, wanted, blobs=view.says("blobs"))
    if view.says("securityStatus"):
        said["securityRepoStatus"] = SCANNED
    return Response(said)


def tree(view: View, base: BasePlace, rest: str) -> Response:
    """`GET …/tree/REV[/PATH]`, always in one page."""
    edition, folder = base.split(view.request, rest)
    folder, every = folder.strip("/"), {**edition.manifest, **folders(edition.manifest)}
    if folder and not inside(edition.manifest, folder, recursive=True):
        raise _missing(folder, edition)
    paths = inside(every, folder, recursive=view.says("recursive"))
    return Response(_listed(edition, paths, expand=view.says("expand")))


def paths_info(view: View, base: BasePlace, rest: str) -> Response:
    """`POST …/paths-info/REV`."""
    paths = list(dict.fromkeys(path.strip("/") for path in view.request.data.getlist("paths")))
    expand = view.request.data.get("expand", "").lower() in ("1", "true")
    return Response(_listed(base.edition(rest), paths, expand=expand))


def refs(view: View, base: BasePlace) -> Response:
    """`GET …/refs`: each registered revision is a branch."""
    names = [(base.branch(edition), edition.oid) for edition in base.editions]
    branches = [shapes_of_refs.ref(name, f"refs/heads/{name}", oid) for name, oid in names]
    said: dict[str, list] = {"branches": branches, "converts": [], "tags": []}
    asked = view.says("include_prs") or view.says("include_pull_requests")
    return Response({**said, "pullRequests": []} if asked else said)


def commits(view: View, base: BasePlace, rest: str) -> Response:
    """`GET …/commits/REV`: the one that there is."""
    return Response([shapes_of_refs.commit(base.edition(rest), formatted="formatted" in view.queries("expand"))])


def may_read(view: View, base: BasePlace) -> Response:
    """`GET …/auth-check`."""
    return Response({})


def file(view: View, base: BasePlace, rest: str):
    """`GET /org/name/resolve/REV/PATH`."""
    edition, path = base.split(view.request, rest)
    if path not in edition.manifest:
        raise _missing(path, edition)
    entry = edition.manifest[path]
    git = git_files({path: entry})[path]
    content = Content.of_blob(entry.sha256, entry.size)
    response = bytes_response(view.request._request, content, path, etag=git.etag)
    for header, value in {COMMIT: edition.oid, **linked(git)}.items():
        response[header] = value
    return response


def raw(view: View, base: BasePlace, ref: str, path: str):
    """`GET /org/name/raw/REV/PATH`."""
    return file(view, base, f"{ref}/{path}")


def bare(view: View, base: BasePlace, rest: str, path: str | None = None):
    """What is asked of a base by an alias without a namespace (`gpt2`), whose addresses no other route takes."""
    if view.request.method not in ("GET", "HEAD"):
        raise NotFound("There is no such route in this hub.", code="route_not_found")
    if path is not None:
        return file(view, base, path)
    what, _, of = rest.partition("/")[2].partition("/")
    if not what:
        return info(view, base)
    answer = OF_A_REVISION.get(what) if of else None
    if answer is None:
        raise NotFound("There is no such route in this hub.", code="route_not_found")
    return answer(view, base, of)


OF_A_REVISION = {"revision": info, "tree": tree, "commits": commits}


def _listed(edition: Edition, paths: list[str], *, expand: bool) -> list[dict]:
    found = items(edition.manifest, paths)
    return [shown_in_a_tree(item, edition if expand else None) for item in found.values()]


def _missing(path: str, edition: Edition) -> NotFound:
    """Its header lets the client remember that there is no such file."""
    missing = NotFound(f"{path} does not exist on {edition.oid[:10]}", code="file_not_found")
    missing.headers[COMMIT] = edition.oid
    return missing
