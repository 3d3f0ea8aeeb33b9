"""Who may see or do what. Every look-up of every surface goes through here and returns the object or raises.

What one may not see answers `NotFound`, worded the same as what does not exist. A token narrows what its user may do:
`read` to see private things, `write` to push and start jobs, `admin` to change roles, visibility and to delete.
"""

from dataclasses import dataclass

from django.db.models import Exists, OuterRef, Q, QuerySet
from django.http import HttpRequest

from hub.errors import Invalid, NotFound, NotSignedIn, PermissionDenied
from hub.models import (
    BaseModel,
    Companion,
    Job,
    Membership,
    Namespace,
    Ref,
    Repository,
    Revision,
    Role,
    Token,
    Upload,
    User,
    Version,
    Visibility,
)
from hub.names import OID, VERSION

LEVEL = {"read": Role.READER.level, "write": Role.WRITER.level, "admin": Role.ADMIN.level}
IMPLIED = {"read": {"read", "write", "admin"}, "write": {"write", "admin"}, "admin": {"admin"}}


@dataclass(frozen=True, slots=True)
class Viewer:
    """Who is asking: a user or None, and the token's scopes. `scopes` None is a browser session: it has every scope."""

    user: User | None = None
    scopes: frozenset[str] | None = None

    def has_scope(self, scope: str) -> bool:
        """True where the session or token allows acts of this scope; a wider scope includes the narrower."""
        return self.scopes is None or bool(self.scopes & IMPLIED[scope])


ANONYMOUS = Viewer()


def viewer_of(request: HttpRequest) -> Viewer:
    """The viewer behind a page's or an API view's request."""
    user = request.user if request.user and request.user.is_authenticated else None
    token = getattr(request, "auth", None)
    return Viewer(user=user, scopes=frozenset(token.scopes) if isinstance(token, Token) else None)


def require_user(viewer: Viewer) -> User:
    """The signed-in user, or NotSignedIn."""
    if viewer.user is None:
        raise NotSignedIn("Sign in first, or send a token: Authorization: Bearer ah_…")
    return viewer.user


def require_scope(viewer: Viewer, scope: str) -> User:
    """The signed-in user if the token allows `scope`."""
    user = require_user(viewer)
    if not viewer.has_scope(scope):
        given = ", ".join(sorted(viewer.scopes or ())) or "none"
        raise PermissionDenied(
            f"This token has the scopes {given}; this needs {scope}. Make a token with that scope.", code="token_scope"
        )
    return user


def visible(viewer: Viewer, *, prefix: str = "") -> Q:
    """The filter for repositories this viewer may see; `prefix` leads to them, as in `repository__`."""
    living = Q(**{f"{prefix}deleted_at": None})
    public = Q(**{f"{prefix}visibility": Visibility.PUBLIC})
    if viewer.user is None or not viewer.has_scope("read"):
        return living & public
    return living & (public | _member(viewer, prefix))


def visible_companions(viewer: Viewer) -> Q:
    """The filter for companions, of repositories the viewer may see; private ones are for members of the namespace."""
    public = Q(visibility=Visibility.PUBLIC)
    if viewer.user is None or not viewer.has_scope("read"):
        return public
    return public | _member(viewer, "repository__")


def may(viewer: Viewer, repository: Repository, need: str) -> bool:
    """True if this viewer's role and token allow `need` ("read", "write", "admin") on the repository."""
    if need == "read" and repository.visibility == Visibility.PUBLIC:
        return True
    return viewer.has_scope(need) and _level(viewer, repository.namespace) >= LEVEL[need]


def repository(
    viewer: Viewer, namespace: str, name: str, need: str = "read", *, kind: str | None = None, deleted: bool = False
) -> Repository:
    """The repository, if `viewer` may do `need` with it; `deleted` looks in the trash instead, for its admins."""
    found = (
        Repository.objects.select_related("namespace", "base")
        .filter(namespace__name__iexact=namespace, name__iexact=name, deleted_at__isnull=not deleted)
        .first()
    )
    if found is None or (kind and found.kind != kind) or not may(viewer, found, "read"):
        raise missing(f"{namespace}/{name}", kind or "repository")
    if deleted and not _level(viewer, found.namespace) >= LEVEL["admin"]:
        raise missing(f"{namespace}/{name}", kind or "repository")
    if need != "read":
        require_role(viewer, found.namespace, need, found.full_name)
    return found


def resolve(repository: Repository, ref: str | None = None) -> Revision:
    """The revision a name stands for: vN, a branch, a tag, `latest`, a 40-hex id; None is `latest`, else `main`."""
    revisions = Revision.objects.filter(repository=repository).select_related("version", "version__base", "author")
    if ref is None:
        by_ref = {row.name: row.revision_id for row in Ref.objects.filter(repository=repository)}
        found = revisions.filter(pk=by_ref.get("latest", by_ref.get("main"))).first()
    elif number := VERSION.fullmatch(ref):
        found = revisions.filter(version__number=int(number[1])).order_by("-pk").first()
    elif OID.fullmatch(ref):
        found = revisions.filter(oid=ref).first()
    else:
        found = revisions.filter(refs__name=ref).first()
    if found is None:
        raise NotFound(
            f"{repository.full_name} has nothing named {ref!r}."
            if ref
            else f"{repository.full_name} is empty: nothing has been pushed to it yet.",
            code="revision_not_found",
        )
    return found


def version(viewer: Viewer, namespace: str, name: str, ref: str | None = None, *, kind: str | None = None) -> Version:
    """The version a name stands for, with its repository loaded."""
    found = repository(viewer, namespace, name, kind=kind)
    revision = resolve(found, ref)
    if revision.version is None:
        raise NotFound(f"{found.full_name}@{ref or 'main'} has no valid version yet.", code="version_not_found")
    revision.version.repository = found
    return revision.version


def parse_input(viewer: Viewer, text: str, *, kind: str | None = None) -> Version:
    """The version named `ns/name` or `ns/name@ref`."""
    path, _, ref = text.partition("@")
    namespace, slash, name = path.partition("/")
    if not slash or not namespace or not name:
        raise Invalid(f"{text!r} is not a version; write namespace/name or namespace/name@v1.", field="inputs")
    return version(viewer, namespace, name, ref or None, kind=kind)


def namespace(viewer: Viewer, name: str, need: str = "read") -> Namespace:
    """The namespace; `need` write or admin asks for that role in it."""
    found = Namespace.objects.filter(name__iexact=name).first()
    if found is None:
        raise missing(name, "namespace")
    if need != "read":
        require_role(viewer, found, need, found.name)
    return found


def job(viewer: Viewer, pk: int, need: str = "read") -> Job:
    """A job of one's own or of a namespace one belongs to; its creator and that namespace's writers may act on it."""
    found = (
        Job.objects.select_related(
            "output_namespace",
            "output__namespace",
            "base",
            "created_by",
            "result__repository__namespace",
            "evaluation",
        )
        .filter(pk=pk)
        .first()
    )
    if found is None or viewer.user is None or not viewer.has_scope("read"):
        raise missing(str(pk), "job")
    own = found.created_by_id == viewer.user.pk
    level = 3 if own else _level(viewer, found.output_namespace) if found.output_namespace else -1
    if level < LEVEL["read"]:
        raise missing(str(pk), "job")
    if need != "read":
        require_scope(viewer, need)
        if level < LEVEL[need]:
            raise PermissionDenied(f"Job {pk} belongs to {found.created_by.username}; you may only watch it.")
    return found


def upload(viewer: Viewer, pk: str) -> Upload:
    """An upload under way, for the user who began it."""
    user = require_scope(viewer, "write")
    found = Upload.objects.select_related("repository__namespace", "base").filter(pk=pk, user=user).first()
    if found is None or found.repository.deleted_at or not may(viewer, found.repository, "write"):
        raise missing(str(pk), "upload")
    return found


def companions(viewer: Viewer, repository: Repository) -> QuerySet[Companion]:
    """The repository's companions by kind and name; private ones only for members of its namespace."""
    found = Companion.objects.filter(visible_companions(viewer), repository=repository)
    return found.select_related("blob", "created_by").order_by("kind", "name")


def companion(viewer: Viewer, repository: Repository, kind: str, name: str, *, whole: bool = False) -> Companion:
    """One companion by kind and name; with `whole` the name of its folder is enough."""
    of_kind = companions(viewer, repository).filter(kind=kind)
    found = (named(of_kind, name) if whole else of_kind.filter(name=name)).first()
    if found is None:
        raise missing(f"{kind}/{name}", "companion")
    return found


def named(found: QuerySet[Companion], name: str) -> QuerySet[Companion]:
    """The companions of this name, or in the folder of this name."""
    return found.filter(Q(name=name) | Q(name__startswith=f"{name}/"))


def token(viewer: Viewer, pk: int) -> Token:
    """One of the viewer's own tokens."""
    found = Token.objects.filter(pk=pk, user=require_user(viewer)).first()
    if found is None:
        raise missing(str(pk), "token")
    return found


def base(name: str, revision: str | None = None) -> BaseModel:
    """The base of this name, `name@revision` or alias; everyone may see bases."""
    found = BaseModel.objects.select_related("derived_from").filter(name__iexact=name)
    match = found.filter(revision=revision).first() if revision else found.order_by("pk").first()
    match = match or BaseModel.objects.select_related("derived_from").filter(aliases__name=name).first()
    if match is None and revision is None and "@" in name:
        return base(*name.rsplit("@", 1))
    if match is None:
        raise NotFound(
            f"No base model is registered as {name!r}. Register it: hubctl base add {name} --config config.json",
            code="base_not_found",
        )
    return match


def missing(name: str, what: str) -> NotFound:
    """The error for what does not exist and for what the viewer may not see: the same sentence."""
    return NotFound(f"There is no {what} {name!r} that you can see. Check the name, or sign in if it is private.")


def require_role(viewer: Viewer, namespace: Namespace, need: str, what: str) -> None:
    """PermissionDenied unless the viewer's role in the namespace, and their token, allow `need` (write, admin)."""
    require_scope(viewer, need)
    if _level(viewer, namespace) < LEVEL[need]:
        role = {"write": "writer", "admin": "admin"}[need]
        raise PermissionDenied(f"This needs the role {role} in {namespace.name}; ask an admin there. ({what})")


def _member(viewer: Viewer, prefix: str) -> Q:
    """Rows whose repository, `prefix` leading to it, is in a namespace of the viewer's."""
    return Q(Exists(Membership.objects.filter(namespace=OuterRef(f"{prefix}namespace"), user=viewer.user)))


def _level(viewer: Viewer, namespace: Namespace) -> int:
    if viewer.user is None:
        return -1
    role = Membership.objects.filter(namespace=namespace, user=viewer.user).values_list("role", flat=True).first()
    return Role(role).level if role else -1
