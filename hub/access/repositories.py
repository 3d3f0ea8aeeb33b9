"""Repositories, their revisions and versions, namespaces: what a viewer may see and do there."""

import re

from django.db.models import Exists, OuterRef, Q, QuerySet

from hub.access.gates import require_open
from hub.access.viewer import LEVEL, SEEING, Viewer, level, missing, require_role, require_user
from hub.errors import Invalid, NotFound, Renamed
from hub.models import FormerName, Kind, Membership, Namespace, Ref, RefKind, Repository, Revision, Version, Visibility
from hub.names import DATASETS, GAVE_WAY, OID, VERSION, split_path, split_place


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
    viewer: Viewer,
    place: str,
    name: str,
    need: str = "read",
    *,
    kind: str | None = None,
    deleted: bool = False,
    exact: bool = False,
) -> Repository:
    """The repository, if `viewer` may do `need` with it; `deleted` looks in the trash instead, for its admins.

    Models and datasets are two name spaces. The place `datasets/ns` is that of datasets; `ns` is that of models, unless
    `kind` is a dataset. Without a kind, where the viewer sees no model of the name, it is the dataset of the name;
    not where `exact` is asked for. Renamed where it had this name once. `need` "files" is for having its files:
    Gated where the viewer sees it and its gate doesn't let them in.
    """
    datasets, named = place.startswith(DATASETS), Repository.objects.listed()
    named = named.at(place, name, exact=exact).filter(purged_at=None)
    rows = named.filter(**({"kind": kind} if kind else {}), deleted_at__isnull=not deleted)
    found = next((row for row in rows if _sees(viewer, row, need, deleted)), None)
    if found is None:
        _say_where(viewer, place, name) if deleted else _lead_on(viewer, place, name, kind)
        raise missing(f"{place}/{name}", kind or (Kind.DATASET if datasets else "repository"))
    if need not in SEEING:
        if found.is_dataset and not (datasets or kind):
            _require_no_model(viewer, named, found)
        require_role(viewer, found, need, found.path)
    if need == "files":
        require_open(viewer, found)
    return found


def _sees(viewer: Viewer, row: Repository, need: str, deleted: bool) -> bool:
    if deleted and level(viewer, row) < LEVEL["admin"]:
        return False
    return may(viewer, row, need if need in SEEING else "read")


def _say_where(viewer: Viewer, place: str, name: str) -> None:
    """NotFound with the names by which the trash has what was called so, before another took that name."""
    near = Repository.objects.select_related("namespace").at(place, name + GAVE_WAY, start=True)
    gone = near.filter(deleted_at__isnull=False, purged_at=None)
    if paths := [row.path for row in gone.order_by("-pk") if _sees(viewer, row, "read", True)]:
        raise NotFound(
            f"The trash has no {place}/{name}. One whose name was taken by another since is in the trash under a name "
            f"beside it: {', '.join(paths)}."
        )


def _lead_on(viewer: Viewer, place: str, name: str, kind: str | None) -> None:
    """Raise Renamed where a repository that the viewer may see had this name, and nothing has it now."""
    namespace, datasets = split_place(place)
    is_dataset = datasets or (kind is not None and Repository(kind=kind).is_dataset)
    rows = FormerName.objects.filter(namespace__name__iexact=namespace, folded=name.lower(), is_dataset=is_dataset)
    former = rows.filter(repository__deleted_at=None).select_related("repository__namespace").first()
    if former and may(viewer, former.repository, "download") and kind in (None, former.repository.kind):
        raise Renamed(f"{place}/{name}", former.repository.path)


def _require_no_model(viewer: Viewer, named: QuerySet[Repository], dataset: Repository) -> None:
    """A bare name that meant a model a moment ago changes no dataset: a deletion, or its undoing, may be sent twice."""
    model = next((row for row in named if not row.is_dataset), None)
    if model and level(viewer, model) >= LEVEL["read"]:
        where = "in the trash" if model.deleted_at else "not in the trash"
        raise NotFound(f"{model.path} is {where}. The dataset of this name is {dataset.path}.")


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
            f"{repository.path} has nothing named {ref!r}."
            if ref
            else f"{repository.path} is empty: nothing has been pushed to it yet.",
            code="revision_not_found",
        )
    return found


TAGS = "refs/tags/"
KINDS = {"refs/heads/": RefKind.BRANCH, TAGS: RefKind.TAG}
CUT_ID = re.compile(r"[0-9a-f]{5,39}")


def _named(repository: Repository, revisions: QuerySet[Revision], name: str) -> Revision | None:
    """What a ref of this name points at: `refs/heads/x` a branch, `refs/tags/x` a tag, `x` either."""
    rows = Ref.objects.filter(repository=repository)
    for prefix, kind in KINDS.items():
        if name.startswith(prefix):
            name, rows = name.removeprefix(prefix), rows.filter(kind=kind)
            if prefix == TAGS and (number := VERSION.fullmatch(name)):
                return revisions.filter(version__number=int(number[1])).order_by("pk").first()
    ref = rows.filter(name=name).order_by("kind").first()
    return revisions.filter(pk=ref.revision_id).first() if ref else None


def _cut_id(revisions: QuerySet[Revision], start: str) -> Revision | None:
    """The only revision whose id begins so."""
    if not CUT_ID.fullmatch(start.lower()):
        return None
    found = list(revisions.filter(oid__startswith=start.lower())[:2])
    return found[0] if len(found) == 1 else None


def version(viewer: Viewer, place: str, name: str, ref: str | None = None, *, kind: str | None = None) -> Version:
    """The version a name stands for, with its repository loaded."""
    found = repository(viewer, place, name, kind=kind)
    revision = resolve(found, ref)
    if revision.version is None:
        raise NotFound(f"{found.path}@{ref or 'main'} has no valid version yet.", code="version_not_found")
    revision.version.repository = found
    return revision.version


def parse_input(viewer: Viewer, text: str, *, kind: str | None = None) -> Version:
    """The version named `ns/name` or `ns/name@ref`, or with `datasets/` before, as `repository` finds it."""
    path, _, ref = text.partition("@")
    place, name = split_path(path)
    if not split_place(place)[0] or not name:
        raise Invalid(
            f"{text!r} is not a version; write namespace/name or namespace/name@v1, with datasets/ before a dataset's.",
            field="inputs",
        )
    return version(viewer, place, name, ref or None, kind=kind)


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
