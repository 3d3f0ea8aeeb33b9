"""A file's bytes by revision and path: `/ns/name/resolve/REV/PATH` for clients, `…/raw/REV/PATH` for pages as well.

ETag is git's SHA-1 of the file, of an LFS file its SHA-256; X-Repo-Commit names the revision, in refusals too, so that
clients remember what isn't there. Bytes are never compressed; HEAD is answered here, GET may lead to the store.
"""

from django.http import HttpResponsePermanentRedirect

from composition.errors import CompositionError
from hub import access, queries
from hub.errors import HubError, NotFound
from hub.hf.places import DATASETS, MODELS, PREFIX, Place, place, split
from hub.hf.refusals import RepositoryMissing, refusal_of
from hub.hf.view import View
from hub.http.authentication import SessionAuthentication, TokenAuthentication
from hub.http.file_responses import Content, bytes_response, gives_bytes, picture_type
from hub.models import Revision
from hub.names import split_place
from hub.services.commits.attributes import FILE
from hub.services.content.downloads import count_download
from hub.services.content.forms import Asked, file_of
from hub.services.content.manifest import Entry
from hub.services.content.pointers import GitFile, attributes_of, git_files
from hub.services.noting import note_download

COUNTER = "X-HF-Download-Counter"
COMMIT = "X-Repo-Commit"


class File(View):
    """One file. A browser's session serves as well as a token."""

    authentication_classes = [TokenAuthentication, SessionAuthentication]
    scopes = {"GET": "download"}

    def get(self, request, namespace, name, rest):
        owner, datasets = split_place(namespace)
        type = DATASETS if datasets else MODELS
        found = place(self.viewer, type, owner, name, "files", files=self.loads_a_model())
        revision, path = split(found, request, rest)
        return self.answer(found, revision, path)

    def answer(self, found: Place, revision: Revision, path: str):
        """The response; `?as=`, `?expert=` and `?uniform=` ask for another form of the file, as in REST."""
        asked = Asked.of(self.request.query_params)
        try:
            made = file_of(self.viewer, revision, path, asked)
        except NotFound as missing:
            missing.headers[COMMIT] = revision.oid
            raise
        git = _git(revision, path, made.content) if asked == Asked() else None
        response = bytes_response(self.request._request, made.content, path, etag=git.etag if git else None)
        if gives_bytes(self.request, response):
            self.note(made, path, revision, response.start, whole=response.whole)
        response[COMMIT] = revision.oid
        for header, value in linked(git).items():
            response[header] = value
        return response

    def note(self, made, path: str, revision: Revision, start: int, *, whole: bool) -> None:
        """Count a download, and note it where it is private; a look at a file's head counts as none."""
        if whole or COUNTER in self.request.headers:
            count_download(repository=made.repository, path=path, start=start, counts=made.counts)
        note_download(actor=self.viewer.user, repository=made.repository, path=path, revision=revision.oid)


def _git(revision: Revision, path: str, content: Content) -> GitFile:
    """The file as git has it, by the revision's own attributes; its other files aren't looked up."""
    own = {row["path"]: Entry(row["sha256"], row["size"]) for row in queries.files(revision, only=(FILE,))}
    return git_files({path: Entry(content.sha256, content.size)}, attributes_of(own))[path]


def linked(git: GitFile | None) -> dict[str, str]:
    """What the client is told of an LFS file beside its bytes."""
    if git is None or not git.is_lfs:
        return {}
    return {"X-Linked-Etag": f'"{git.sha256}"', "X-Linked-Size": str(git.size)}


class Raw(File):
    """The same at the address that pages link to: pictures by their type, refusals as pages where a page is wanted."""

    def get_exception_handler(self):
        return self.refuse_on_a_page if self.is_page() else super().get_exception_handler()

    def is_page(self) -> bool:
        """Whether a person's browser asks, and no program by its token."""
        return "Authorization" not in self.request.headers

    def refuse_on_a_page(self, error, context):
        """None lets the error go on to the middleware, which makes a page of it; what is private is not there."""
        if not isinstance(error, HubError | CompositionError):
            return refusal_of(error, context)
        if isinstance(error, RepositoryMissing):
            where = self.kwargs
            raise access.missing(f"{where['namespace']}/{where['name']}", "repository") from None

    def get(self, request, namespace, name, ref, path):
        try:
            response = super().get(request, namespace, name, f"{ref}/{path}")
        except RepositoryMissing:
            if not self.leads_to_dataset(namespace, name):
                raise
            response = HttpResponsePermanentRedirect(f"/{PREFIX[DATASETS]}{request.get_full_path().removeprefix('/')}")
            response["Cache-Control"] = "no-store"
            return response
        if picture := picture_type(path):
            response["Content-Type"] = picture
        return response

    def leads_to_dataset(self, namespace: str, name: str) -> bool:
        """Whether the viewer sees no model of this name, and a dataset."""
        owner, datasets = split_place(namespace)
        if datasets:
            return False
        try:
            return bool(place(self.viewer, DATASETS, owner, name, "download"))
        except RepositoryMissing:
            return False
