"""Making, deleting, moving and setting repositories; who may write to one; what one's namespaces store."""

from rest_framework.response import Response

from hub import access, queries
from hub.errors import Conflict, Invalid, NotFound, Renamed
from hub.hf.paging import with_next
from hub.hf.places import DATASETS, MODELS, PREFIX, place
from hub.hf.refusals import IsBase
from hub.hf.shapes.moments import moment
from hub.hf.view import View
from hub.http.keyset import after, read_cursor, write_cursor
from hub.models import Gate, Kind, Repository, Visibility
from hub.services import repositories
from hub.services.repositories.moving import move_repository
from hub.services.repositories.starting import start_repository

KINDS = {MODELS: Kind.ADAPTER, DATASETS: Kind.DATASET}
GATES = {False: Gate.OPEN, "auto": Gate.AUTO, "manual": Gate.MANUAL}
PAGE = 500
MOVED = "an id is namespace/name, as lab/dates"


class Named(View):
    """A repository that the body names by `type` ("model" where it is left out), `organization` and `name`."""

    def type(self) -> str:
        """`models` or `datasets`."""
        said = self.body().get("type") or "model"
        if not isinstance(said, str) or f"{said}s" not in PREFIX:
            raise Invalid(f"This hub has repositories of the types model and dataset, not {str(said)[:40]!r}.")
        return f"{said}s"

    def named(self) -> tuple[str, str]:
        """(namespace, name): an id without a namespace is one's own."""
        name = self.text("name")
        namespace, slash, rest = name.partition("/")
        if slash:
            return namespace, rest
        return self.text("organization", self.actor().namespace.name), name

    def found(self, type: str, namespace: str, name: str) -> Repository:
        """The repository, for its admins; no redirect leads on from a name that the address doesn't hold."""
        try:
            return place(self.viewer, type, namespace, name, "admin").repository
        except Renamed as moved:
            raise Conflict(moved.message) from None


class Create(Named):
    """`POST /api/repos/create`: a repository with its first commit."""

    def post(self, request):
        actor, type, (owner, name) = self.actor(), self.type(), self.named()
        url = self.address(f"/{PREFIX[type]}{owner}/{name}")
        namespace = access.namespace(self.viewer, owner, "write")
        wanted = {"namespace": namespace, "name": name, "kind": KINDS[type], "visibility": self.visibility()}
        try:
            made = start_repository(actor=actor, **wanted)
        except Conflict:
            what = type.removesuffix("s")
            said = f"You already created this {what} repo: {owner}/{name}"
            raise Conflict(said, code="repository.exists", url=url) from None
        return Response({"url": self.address(f"/{made.path}"), "name": made.full_name, "id": f"{made.pk:024x}"})

    def visibility(self) -> str:
        """As the body says it: `visibility`, or `private` of older clients."""
        said = self.body()
        if said.get("visibility") is not None:
            return self.text("visibility")
        return Visibility.PRIVATE if said.get("private") is True else Visibility.PUBLIC


class Delete(Named):
    """`DELETE /api/repos/delete`: into the trash, where its admins can restore it."""

    scopes = {"DELETE": "admin"}

    def delete(self, request):
        found = self.found(self.type(), *self.named())
        repositories.delete_repository(actor=self.actor(), repository=found)
        return Response({})


class Move(Named):
    """`POST /api/repos/move`."""

    scopes = {"POST": "admin"}

    def post(self, request):
        self.actor()
        ids = [self.text(key).split("/") for key in ("fromRepo", "toRepo")]
        if any(len(parts) != 2 for parts in ids):
            raise Invalid(f"fromRepo and toRepo name repositories: {MOVED}.", field="toRepo")
        found = self.found(self.type(), *ids[0])
        namespace = access.namespace(self.viewer, ids[1][0], "admin")
        moved = {"repository": found, "namespace": namespace, "name": ids[1][1]}
        return Response({"url": self.address(f"/{move_repository(actor=self.viewer, **moved).path}")})


class Settings(View):
    """`PUT /api/models/ns/name/settings`: visibility and gate."""

    scopes = {"PUT": "admin"}

    def put(self, request, type, namespace, name):
        found = place(self.viewer, type, namespace, name, "admin").repository
        said, changes = self.body(), {}
        if said.get("visibility") is not None or said.get("private") is not None:
            private = Visibility.PRIVATE if said.get("private") else Visibility.PUBLIC
            changes["visibility"] = self.text("visibility", private)
        if "gated" in said:
            gate = said["gated"]
            if not isinstance(gate, str | bool) or gate not in GATES:
                raise Invalid('\'gated\' is false, "auto" or "manual".', field="gated")
            changes["gate"] = GATES[gate]
        changed = repositories.update_repository(actor=self.viewer, repository=found, **changes)
        return Response({"private": changed.visibility == Visibility.PRIVATE, "visibility": changed.visibility})


class AuthCheck(View):
    """`GET …/auth-check` and `…/auth-check/write`: 200 for who may fetch files, or write them."""

    scopes = {"GET": "download"}

    def get(self, request, type, namespace, name, write=False):
        found = place(self.viewer, type, namespace, name, "files")
        if write:
            self.actor()
            access.require_role(self.viewer, found.repository, "write", found.id)
        return Response({})


class Stored(View):
    """`GET /api/settings/repositories`, or of an organisation: its repositories and the bytes of each."""

    def get(self, request, namespace=None):
        owner = access.member_of(self.viewer, namespace or self.actor().namespace.name)
        order, cursor = ("-updated_at", "-id"), self.query("cursor")
        rows = queries.repositories(self.viewer).filter(namespace=owner).order_by(*order)
        if cursor:
            rows = rows.filter(after(order, read_cursor(cursor, order, Repository)))
        found = list(rows[: PAGE + 1])
        sizes = queries.used_storage(found[:PAGE])
        shown = [_storage(row, sizes[row.pk], sum(sizes.values())) for row in found[:PAGE]]
        return with_next(self, shown, write_cursor(found[PAGE - 1], order) if len(found) > PAGE else None)


def _storage(row: Repository, size: int, total: int) -> dict:
    return {
        "id": row.full_name,
        "type": "dataset" if row.is_dataset else "model",
        "updatedAt": moment(row.updated_at),
        "visibility": row.visibility,
        "storage": size,
        "storagePercent": round(size / total, 6) if total else 0,
    }


class NoId(View):
    """What no other route takes, below an id that this hub may not have: it says which of the two is missing.

    `path` is there in the address of a file, whose id is all of `rest`.
    """

    scopes = dict.fromkeys(("GET", "POST", "PUT", "DELETE"), "download")
    little = frozenset({"POST", "PUT"})

    def get(self, request, rest, type=MODELS, path=None):
        owner, _, name = rest.partition("/")
        if type == MODELS and queries.served_bases(owner):
            raise IsBase(owner, anonymous=self.viewer.user is None)
        if path is not None or name.startswith("tree/"):
            place(self.viewer, type, "", owner, "download", files=self.loads_a_model(rest))
        place(self.viewer, type, owner, name.split("/")[0], "download")
        raise NotFound("There is no such route in this hub.", code="route_not_found")

    head = post = put = delete = get
