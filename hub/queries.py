"""All reads that pages and the API share. Each asks a fixed number of queries, however long its list."""

from collections.abc import Iterable, Sequence
from datetime import timedelta

from django.conf import settings
from django.db.models import Count, Exists, OuterRef, Prefetch, Q, QuerySet, Subquery
from django.utils import timezone

from composition.errors import CompositionError, RecipeError
from composition.facts import AdapterFacts
from composition.registry import METHODS
from hub import access
from hub.access import Viewer, visible
from hub.errors import Invalid, NotFound
from hub.models import (
    FINAL,
    BaseModel,
    Blob,
    Companion,
    Evaluation,
    Job,
    Kind,
    ManifestEntry,
    Membership,
    Parentage,
    Ref,
    Repository,
    Revision,
    Token,
    User,
    Version,
    WorkerNode,
)

SORTS = {"updated": "-updated_at", "created": "-created_at", "downloads": "-downloads", "name": "name"}
FACETS = {
    "base": "base__name",
    "peft_type": "peft_type",
    "rank": "rank",
    "license": "license",
    "origin": "origin",
    "owner": "namespace__name",
    "tag": "tags__name",
}
FACET_VALUES = 30


def repositories(
    viewer: Viewer, *, kind: str | None = None, search: str = "", sort: str = "updated", **facets: str
) -> QuerySet[Repository]:
    """The repositories this viewer sees, narrowed by words and facets, in an order that keyset paging can follow."""
    if sort not in SORTS:
        raise Invalid(f"sort={sort!r}; choose one of {', '.join(SORTS)}.", field="sort")
    found = Repository.objects.select_related("namespace", "base").filter(visible(viewer))
    if kind:
        found = found.filter(kind=kind)
    for word in search.split()[:8]:
        found = found.filter(
            Q(name__icontains=word)
            | Q(namespace__name__icontains=word)
            | Q(description__icontains=word)
            | Q(base__name__icontains=word)
        )
    for name, value in facets.items():
        if value in (None, ""):
            continue
        if name == "rank" and not str(value).isdigit():
            raise Invalid(f"rank={value!r}; give a whole number.", field="rank")
        found = found.filter(**{FACETS[name]: value})
    return found.order_by(SORTS[sort], "-pk")


def seen(viewer: Viewer, repositories: Iterable[int]) -> set[int]:
    """Of these repositories' ids, those the viewer may see."""
    return set(Repository.objects.filter(visible(viewer), pk__in=set(repositories)).values_list("pk", flat=True))


def facets(found: QuerySet[Repository]) -> dict[str, list[tuple[str, int]]]:
    """For each facet the commonest values among `found`, with their counts."""
    counts = {}
    for name, column in FACETS.items():
        rows = found.order_by().values(column).annotate(n=Count("pk", distinct=True)).order_by("-n", column)
        counts[name] = [(str(row[column]), row["n"]) for row in rows[:FACET_VALUES] if row[column] not in (None, "")]
    return counts


def trash(viewer: Viewer) -> QuerySet[Repository]:
    """Deleted repositories of the namespaces this viewer is admin of."""
    admin_of = access.require_user(viewer).memberships.filter(role="admin").values("namespace")
    deleted = Repository.objects.select_related("namespace", "base").filter(deleted_at__isnull=False)
    return deleted.filter(namespace__in=admin_of).order_by("-deleted_at", "-pk")


def files(revision: Revision) -> list[dict]:
    """The manifest: path, size and SHA-256 of each file, by path."""
    entries = ManifestEntry.objects.filter(revision=revision).select_related("blob").order_by("path")
    return [{"path": entry.path, "size": entry.blob.size, "sha256": entry.blob_id} for entry in entries]


def file(revision: Revision, path: str) -> Blob:
    """The blob at `path`, or NotFound."""
    entry = ManifestEntry.objects.filter(revision=revision, path=path).select_related("blob").first()
    if entry is None:
        raise NotFound(f"There is no file {path!r} in {revision.oid[:10]}.", code="file_not_found")
    return entry.blob


def refs(repository: Repository) -> QuerySet[Ref]:
    """Branches and tags with what they point at, by name."""
    return Ref.objects.filter(repository=repository).select_related("revision__version").order_by("name")


def versions(repository: Repository) -> QuerySet[Version]:
    """All versions, newest first, with author and the revision that made each."""
    first_revisions = Prefetch("revisions", Revision.objects.order_by("pk"))
    found = Version.objects.filter(repository=repository).select_related("created_by", "base")
    return found.prefetch_related(first_revisions).order_by("-number")


def lineage(viewer: Viewer, version: Version) -> dict[str, list[dict]]:
    """Parents and children one step away, each with the recipe between; what can't be seen is {"hidden": True}."""
    seen = set(
        Repository.objects.filter(visible(viewer))
        .filter(Q(versions__offspring__child=version) | Q(versions__parentage__parent=version))
        .values_list("pk", flat=True)
    )
    related = "repository__namespace"
    up = Parentage.objects.filter(child=version).select_related(f"parent__{related}", "child")
    down = Parentage.objects.filter(parent=version).select_related(f"child__{related}").order_by("child_id")

    def node(relative: Version, made: Version, position: int) -> dict:
        if relative.repository_id not in seen:
            return {"hidden": True, "position": position}
        return {
            "hidden": False,
            "repository": relative.repository.full_name,
            "version": relative.label,
            "name": f"{relative.repository.full_name}@{relative.label}",
            "origin": relative.origin,
            "method": (made.recipe or {}).get("kind", ""),
            "recipe": made.recipe,
            "position": position,
        }

    return {
        "parents": [node(row.parent, row.child, row.position) for row in up],
        "children": [node(row.child, row.child, row.position) for row in down],
    }


def evaluations(viewer: Viewer, version: Version) -> list[Evaluation]:
    """Measurements of a version on datasets this viewer sees, newest first."""
    found = Evaluation.objects.filter(version=version).filter(visible(viewer, prefix="dataset__repository__"))
    return list(found.select_related("dataset__repository__namespace", "base", "created_by").order_by("-pk"))


def companion(viewer: Viewer, repository: Repository, kind: str, name: str) -> Companion | None:
    """One companion, where this viewer may see it."""
    return access.companions(viewer, repository).filter(kind=kind, name=name).first()


def newest_datasets(viewer: Viewer, most: int = 100) -> list[Version]:
    """The newest versions of the datasets this viewer sees, the last changed first."""
    found = list(repositories(viewer, kind=Kind.DATASET)[:most])
    newest = latest_versions(found)
    return [newest[row.pk] for row in found if row.pk in newest]


def compare(viewer: Viewer, compared: Sequence[Version], *, dataset: Version | None = None) -> dict:
    """A table of the newest evaluation of each version, and of their bare bases, on each dataset one was measured on.

    {"columns": [name, …], "rows": [{"dataset", "split", "metrics": {column: {metric: value}}}]}, bare bases first.
    """
    bases = {version.base_id: version.base for version in compared if version.base_id}
    of_bases = Q(version=None, base__in=bases)
    found = Evaluation.objects.filter(of_bases | Q(version__in=[v.pk for v in compared]))
    found = found.filter(visible(viewer, prefix="dataset__repository__"))
    if dataset:
        found = found.filter(dataset=dataset)
    names = {version.pk: f"{version.repository.full_name}@{version.label}" for version in compared}
    columns = [base.name for base in bases.values()] + list(names.values())
    rows: dict[tuple, dict] = {}
    for row in found.select_related("dataset__repository__namespace", "base").order_by("pk"):
        label = f"{row.dataset.repository.full_name}@{row.dataset.label}"
        line = rows.setdefault((label, row.split), {"dataset": label, "split": row.split, "metrics": {}})
        column = names[row.version_id] if row.version_id else row.base.name
        line["metrics"][column] = {**row.metrics, "rows": row.rows}
    told = [key for key in sorted(rows) if rows[key]["metrics"].keys() & names.values()]
    return {"columns": columns, "rows": [rows[key] for key in told]}


def jobs(viewer: Viewer, state: str = "") -> QuerySet[Job]:
    """Jobs this viewer began, and those of namespaces he belongs to, newest first."""
    user = access.require_user(viewer)
    member = Membership.objects.filter(namespace=OuterRef("output_namespace"), user=user)
    found = Job.objects.filter(Q(created_by=user) | Exists(member))
    if state:
        found = found.filter(state=state)
    related = ("output_namespace", "output__namespace", "base", "created_by", "result__repository__namespace")
    measured = tuple(f"evaluation__{name}" for name in ("dataset__repository__namespace", "base", "created_by"))
    heavy = ("outcome", "base__config", "base__shapes", "result__facts", "result__report", "evaluation__base__shapes")
    versions = Version.objects.select_related("repository__namespace").defer("facts", "report")
    found = found.select_related(*related, *measured).defer(*heavy)
    return found.prefetch_related(Prefetch("inputs__version", versions), "files").order_by("-pk")


def job_end(pk: int) -> dict | None:
    """State, attempt, error and message of a job that is over; None while it isn't."""
    row = Job.objects.filter(pk=pk).values("state", "attempt", "error", "message").first()
    return row if row is None or row["state"] in FINAL else None


def job_of_key(viewer: Viewer, key: str | None) -> Job | None:
    """The viewer's job that was asked for under this idempotency key."""
    return access.require_user(viewer).jobs.filter(idempotency_key=key).first() if key else None


def live_workers() -> QuerySet[WorkerNode]:
    """Workers heard of within three leases."""
    since = timezone.now() - timedelta(seconds=3 * settings.JOB_LEASE_SECONDS)
    return WorkerNode.objects.filter(seen_at__gte=since).select_related("current_job").order_by("name")


def workers() -> QuerySet[WorkerNode]:
    """Workers of the last day, the living first."""
    since = timezone.now() - timedelta(days=1)
    return WorkerNode.objects.filter(seen_at__gte=since).select_related("current_job").order_by("-seen_at")


def bases(viewer: Viewer) -> QuerySet[BaseModel]:
    """All bases with the number of visible adapters on each, by name."""
    adapters = Repository.objects.filter(visible(viewer), kind=Kind.ADAPTER, base=OuterRef("pk")).order_by()
    count = adapters.values("base").annotate(n=Count("pk")).values("n")
    found = BaseModel.objects.select_related("derived_from").prefetch_related("aliases")
    return found.annotate(adapters=Subquery(count)).order_by("name", "revision")


def latest_versions(found: Sequence[Repository]) -> dict[int, Version]:
    """Repository id → its newest version, in one query."""
    newest = Version.objects.filter(repository=OuterRef("repository")).order_by("-number").values("pk")[:1]
    rows = Version.objects.filter(repository__in=[r.pk for r in found], pk=Subquery(newest))
    return {row.repository_id: row for row in rows.select_related("base", "repository__namespace")}


def mergeable(chosen: Sequence[Version], kind: str) -> list[dict]:
    """For each version whether method `kind` could take it beside the first one chosen, and if not, why."""
    answers = []
    for version in chosen:
        reason = _unfit(chosen[0], version, kind)
        answers.append({"version": version, "fits": not reason, "reason": reason})
    return answers


def _unfit(first: Version, version: Version, kind: str) -> str:
    if version.base_id != first.base_id:
        return f"It belongs to {version.base}, the first one to {first.base}; a merge needs one base."
    facts = AdapterFacts.from_dict(version.facts)
    method = METHODS[kind]
    if version == first and method.verb == "assemble" and facts.peft_type == kind.upper():
        return ""  # adapters may join this mixture
    if facts.needs_base:
        return " ".join(f"{need['reason']} {need['do']}" for need in facts.needs_base)
    if method.verb == "assemble" and first.is_mixture:
        return ""
    chosen = [(str(first), AdapterFacts.from_dict(first.facts)), (str(version), facts)]
    try:
        method.recipe().check(chosen[: method.needs.max_inputs or 2] if version != first else chosen[:1])
    except RecipeError:
        return ""  # The recipe's defaults are judged where its values are given.
    except CompositionError as error:
        return "" if error.code == "merge.too_few_inputs" else error.message
    return ""


def memberships(viewer: Viewer) -> QuerySet[Membership]:
    """The viewer's namespaces with his role in each, by name."""
    return access.require_user(viewer).memberships.select_related("namespace").order_by("namespace__name")


def writable(viewer: Viewer) -> list[str]:
    """The namespaces the viewer may write to, by name."""
    if viewer.user is None:
        return []
    return [row.namespace.name for row in memberships(viewer) if row.role != "reader"]


def tokens(viewer: Viewer) -> QuerySet[Token]:
    """The viewer's own tokens that are not revoked, newest first."""
    return access.require_user(viewer).tokens.filter(revoked_at=None).order_by("-pk")


def user(username: str) -> User:
    """The active user of this name, or NotFound."""
    found = User.objects.filter(username__iexact=username, is_active=True).first()
    if found is None:
        raise access.missing(username, "user")
    return found
