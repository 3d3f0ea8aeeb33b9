"""Repositories, their revisions and versions, namespaces: what a viewer may see and do there."""

import re

from django.db.models import Exists, OuterRef, Q, QuerySet

from hub.access.gates import require_open
from hub.access.viewer import LEVEL, SEEING, Viewer, level, missing, require_role, require_user
from hub.errors import Invalid, NotFound
from hub.models import Membership, Namespace, Ref, RefKind, Repository, Revision, Version, Visibility
from hub.names import OID, VERSION


def visible(viewer: Viewer, *, prefix: str = "") -> Q:
    """The filter for repositories this viewer may see; `prefix` leads to them, as in `repository__`."""
    living = Q(**{f"{prefix}deleted_at": None})
    public = Q(**{f"{prefix}visibility": Visibility.PUBLIC})
    if viewer.user is None or not viewer.has_scope("read"):
        return living & public
    return living & (public | member(viewer, prefix))


def may(viewer: Viewer, place: Repository | Namespace, need: str) -> bool:
    """True if this viewer's role and token allow `need` ("download", "read", "write", "admin") at the place."""
    if need in SEEING and isinstance(place, Repository) and place.visibility == Visibility.PUBLIC:
        return True
    return viewer.has_scope(need) and level(viewer, place) >= LEVEL[need]


def repository(
    viewer: Viewer, namespace: str, name: str, need: str = "read", *, kind: str | None = None, deleted: bool = False
) -> Repository:
    """The repository, if `viewer` may do `need` with it; `deleted` looks in the trash instead, for its admins.

    `need` "download" is for having its files: Gated where the viewer sees it and its gate doesn't let them in.
    """
    seeing = need if need in SEEING else "read"
    found = (
        Repository.objects.select_related("namespace", "base")
        .filter(namespace__name__iexact=namespace, name__iexact=name, deleted_at__isnull=not deleted, purged_at=None)
        .first()
    )
    if found is None or (kind and found.kind != kind) or not may(viewer, found, seeing):
        raise missing(f"{namespace}/{name}", kind or "repository")
    if deleted and not level(viewer, found) >= LEVEL["admin"]:
        raise missing(f"{namespace}/{name}", kind or "repository")
    if need not in SEEING:
        require_role(viewer, found, need, found.full_name)
    if need == "download":
        require_open(viewer, found)
    return found


def resolve(repository: Repository, ref: str | None = None) -> Revision:
    """The revision a name stands for: vN, a branch, a tag, `latest`, `refs/…`, a revision id; None is `latest`.

    vN is the revision that made it, whatever card `main` has got since; `latest` is that of the newest version, and
    `main` where there is none. A branch comes before a tag of its name. An id may be cut to 5 digits where it is one.
    """
    revisions = Revision.objects.filter(repository=repository).select_related("version", "version__base", "author")
    if ref in (None, "latest"):
        by_ref = {row.name: row.revision_id for row in Ref.objects.filter(repository=repository)}
        found = revisions.filter(pk=by_ref.get("latest", by_ref.get("main"))).first()
    elif number := VERSION.fullmatch(ref):
        found = revisions.filter(version__number=int(number[1])).order_by("pk").first()
    elif OID.fullmatch(ref.lower()):
        found = revisions.filter(oid=ref.lower()).first()
    else:
        found = _named(repository, revisions, ref) or _cut_id(revisions, ref)
    if found is None:
        raise NotFound(
            f"{repository.full_name} has nothing named {ref!r}."
            if ref
            else f"{repository.full_name} is empty: nothing has been pushed to it yet.",
            code="revision_not_found",
        )
    return found


KINDS = {"refs/heads/": RefKind.BRANCH, "refs/tags/": RefKind.TAG}
CUT_ID = re.compile(r"[0-9a-f]{5,39}")


def _named(repository: Repository, revisions: QuerySet[Revision], name: str) -> Revision | None:
    """What a ref of this name points at: `refs/heads/x` a branch, `refs/tags/x` a tag, `x` either."""
    rows = Ref.objects.filter(repository=repository)
    for prefix, kind in KINDS.items():
        if name.startswith(prefix):
            name, rows = name.removeprefix(prefix), rows.filter(kind=kind)
            if kind == RefKind.TAG and (number := VERSION.fullmatch(name)):
                return revisions.filter(version__number=int(number[1])).order_by("pk").first()
    ref = rows.filter(name=name).order_by("kind").first()
    return revisions.filter(pk=ref.revision_id).first() if ref else None


def _cut_id(revisions: QuerySet[Revision], start: str) -> Revision | None:
    """The only revision whose id begins so."""
    if not CUT_ID.fullmatch(start.lower()):
        return None
    found = list(revisions.filter(oid__startswith=start.lower())[:2])
    return found[0] if len(found) == 1 else None


def version(
    viewer: Viewer, namespace: str, name: str, ref: str | None = None, need: str = "read", *, kind: str | None = None
) -> Version:
    """The version a name stands for, with its repository loaded; `need` "download" is for having its files."""
    found = repository(viewer, namespace, name, need, kind=kind)
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


def member_of(viewer: Viewer, name: str) -> Namespace:
    """A namespace that the viewer is a member of; administrators of the site may look at any."""
    require_user(viewer)
    found = namespace(viewer, name)
    if viewer.is_site_admin or (viewer.has_scope("read") and level(viewer, found) >= LEVEL["read"]):
        return found
    raise missing(name, "namespace")


def member(viewer: Viewer, prefix: str) -> Q:
    """Rows whose repository, `prefix` leading to it, is in a namespace of the viewer's and in their limit."""
    belongs = Q(Exists(Membership.objects.filter(namespace=OuterRef(f"{prefix}namespace"), user=viewer.user)))
    return belongs & viewer.limit.covered(prefix) if viewer.limit else belongs
