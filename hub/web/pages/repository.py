"""What a repository's page shows: the heading all its sections share, and each section's own data."""

import json
from collections.abc import Iterable
from dataclasses import dataclass

from django.urls import reverse
from django.utils.safestring import SafeString, mark_safe

from composition.facts import AdapterFacts
from composition.formats.mixture.parts import CAT_WARNING
from composition.formats.table import Format
from composition.registry import METHODS
from hub import access, queries
from hub.access import Viewer
from hub.errors import NotFound
from hub.models import AccessRequest, Origin, Ref, Repository, Revision, Version
from hub.services import protections
from hub.services.content.forms import mixture_parts
from hub.services.content.manifest import Entry, Manifest, format_of
from hub.services.parsing import card_pages
from hub.storage import blobs
from hub.web.charts import composition, kept, routing
from hub.web.charts import lineage as lineage_graph
from hub.web.charts import modules as module_chart
from hub.web.moved import at_home
from hub.web.pages import snippets

CARD, MAIN = "README.md", "main"
READ = 1_000_000
PREVIEW_BYTES, PREVIEW_ROWS = 200_000, 12
COMPARED = ("peft_type", "ranks", "lora_alpha", "use_rslora", "target_modules", "dtype", "parameters", "bytes")


@dataclass
class Heading:
    """The part above the tabs. `revision` and `version` are None where nothing has been pushed or nothing is valid.

    `head` is main's revision: it has the newest card, which is the repository's. `lets_in` is False where the
    repository is gated and the viewer may not have its files, `asked` their request for them.
    """

    repository: Repository
    revision: Revision | None
    version: Version | None
    facts: AdapterFacts | None
    ref: str
    head: Revision | None
    newest: int
    tags: list[str]
    may_write: bool
    may_admin: bool
    section: str
    lets_in: bool = True
    asked: AccessRequest | None = None

    @property
    def outdated(self) -> bool:
        """True where a newer version than the shown one exists."""
        return bool(self.version and self.newest > self.version.number)

    @property
    def card_revision(self) -> Revision | None:
        """Whose card is shown: main's, or of a named revision its own."""
        return self.revision if self.ref else self.head or self.revision

    @property
    def tabs(self) -> list[dict]:
        """The sections this repository has, as links that keep the shown version."""
        adapter = self.repository.is_adapter
        names = [("overview", "Card", True), ("try", "Try it", adapter and self.version)]
        names += [("files", "Files", self.revision), ("versions", "Versions", self.version)]
        names += [("modules", "Modules", adapter and self.version)]
        made = self.version and self.version.report
        label = {Origin.TRANSFERRED: "Transfer", Origin.GENERATED: "Text"}.get(self.version and self.version.origin)
        names += [("report", label or "Composition", adapter and made)]
        names += [("pulls", "Proposals", self.revision)]
        names += [("settings", "Settings", self.may_admin)]
        return [{"name": name, "label": label, "url": self.url(name)} for name, label, there in names if there]

    @property
    def try_url(self) -> str:
        """Where the shown version is tried."""
        return self.url("try")

    def url(self, section: str) -> str:
        """The address of a section at the shown version."""
        where = [self.repository.place, self.repository.name]
        if section in ("versions", "settings", "transfer", "pulls") or (
            section in ("overview", "try") and not self.ref
        ):
            return reverse({"overview": "repository"}.get(section, section), args=where)
        return reverse({"overview": "version"}.get(section, section), args=[*where, self.ref or "latest"])


def heading(viewer: Viewer, place: str, name: str, ref: str | None, section: str, kind=None) -> Heading:
    """Find the repository and what `ref` stands for; an empty repository has a page too, a wrong ref has none.

    Raises Moved for a dataset at the address of a model.
    """
    repository = at_home(access.repository(viewer, place, name, kind=kind), place)
    ref = None if ref == "latest" else ref
    try:
        revision = access.resolve(repository, ref)
    except NotFound:
        if ref:
            raise
        revision = None
    version = revision.version if revision else None
    if version:
        version.repository = repository
    refs = list(queries.refs(repository))
    head = next((row.revision for row in refs if row.name == MAIN), None)
    numbers = [row.revision.version.number for row in refs if row.revision.version_id]
    here = revision and revision.pk
    lets_in = access.lets_in(viewer, repository)
    return Heading(
        repository=repository,
        revision=revision,
        version=version,
        facts=adapter_facts(repository, version),
        ref=ref or "",
        head=head,
        newest=max(numbers, default=0),
        tags=[row.name for row in refs if row.is_tag and row.revision_id == here and row.name != "latest"],
        may_write=access.may(viewer, repository, "write"),
        may_admin=access.may(viewer, repository, "admin"),
        section=section,
        lets_in=lets_in,
        asked=None if lets_in else queries.my_access(viewer.user, repository),
    )


def adapter_facts(repository: Repository, version: Version | None) -> AdapterFacts | None:
    """The adapter's facts, if it is one and has been checked."""
    return AdapterFacts.from_dict(version.facts) if version and repository.is_adapter else None


def overview(viewer: Viewer, page: Heading, site: str) -> dict:
    """Card, facts, snippets, lineage, evaluations; for datasets a preview of the rows."""
    if page.revision is None:
        return {"page": page}
    entries = queries.files(page.revision)
    context = {"page": page, "files": entries, **card_of(page)}
    if page.version is None:
        return context
    if page.repository.is_generator:
        return context
    manifest = {entry["path"]: Entry(entry["sha256"], entry["size"]) for entry in entries}
    row = format_of(page.repository.kind, manifest)
    if page.repository.is_dataset:
        context["splits"] = preview(page, row, manifest) if page.lets_in else []
        return context | {"snippets": snippets.of_dataset(site, page.repository, page.version)}
    lineage = queries.lineage(viewer, page.version)
    experts = mixture_parts.experts(viewer, page.revision) if page.version and page.version.is_mixture else []
    servers = queries.servers(page.version)
    return context | {
        "experts": experts,
        "cat_warning": CAT_WARNING,
        "format": row,
        "snippets": snippets.of_adapter(site, page.repository, page.version, page.facts, row, experts, servers),
        "servers": servers,
        "lineage": lineage,
        "graph": lineage_graph.graph(page.version, lineage),
        "evaluations": queries.evaluations(viewer, page.version),
    }


def versions(page: Heading) -> dict:
    """All versions with notes, and what changed from each to the next."""
    rows = queries.compared_versions(page.repository, COMPARED)
    for newer, older in zip(rows, [*rows[1:], None], strict=True):
        newer.changes = changes(older, newer) if older else []
        newer.made_by = newer.revision
    return {"page": page, "versions": rows}


def changes(older: Version, newer: Version) -> list[dict]:
    """The facts that differ: [{"name", "before", "after"}]."""
    pairs = [(name, older.facts.get(name), newer.facts.get(name)) for name in COMPARED]
    if older.base_id != newer.base_id:
        pairs.insert(0, ("base", str(older.base or "–"), str(newer.base or "–")))
    pairs.append(("norm", older.norm, newer.norm))
    return [{"name": name, "before": before, "after": after} for name, before, after in pairs if before != after]


def modules(page: Heading) -> dict:
    """The charts and the table of modules."""
    report = page.version.report if page.version else None
    if page.facts is None:
        raise NotFound(f"{page.repository.path} has no modules to show.")
    return {
        "page": page,
        "charts": module_chart.charts(page.facts, report),
        "modules": module_chart.rows(page.facts),
    }


def report(viewer: Viewer, page: Heading) -> dict:
    """How a merge was composed: shares, strips, errors, warnings; parents the reader can't see stay unnamed."""
    given = queries.report_of(viewer, page.version) if page.version else None
    if not given:
        raise NotFound(f"{page.repository.path} was uploaded, not made here; it has no report.")
    parents = queries.lineage(viewer, page.version)["parents"]
    names = ["an adapter you can't see" if parent["hidden"] else parent["name"] for parent in parents]
    summary = {key: value for key, value in (given.get("summary") or {}).items() if not isinstance(value, list | dict)}
    return {
        "page": page,
        "method": METHODS.get(given.get("method")),
        "report": given,
        "summary": summary,
        "names": names,
        "shares": composition.shares(given, names),
        "layers": composition.strips(given),
        "kept": kept.picture(given, names),
        "routing": routing.table(given.get("routing")),
        "maps": routing.maps(given.get("routing")),
        "training": given.get("training"),
    }


def beside(viewer: Viewer, repository: Repository) -> list[dict]:
    """What is kept beside it: [{"kind", "name", "visibility", "size", "facts"}], a folder as one thing."""
    rows: dict[tuple, dict] = {}
    for companion in access.companions(viewer, repository):
        name = companion.name.partition("/")[0]
        row = rows.setdefault((companion.kind, name), {"kind": companion.kind, "name": name, "size": 0})
        row |= {"visibility": companion.visibility, "facts": companion.facts, "size": row["size"] + companion.blob.size}
    return list(rows.values())


def protection(repository: Repository, refs: Iterable[Ref]) -> dict:
    """{"rules", "protected": the names of those refs that they protect}."""
    rules = list(queries.protections(repository))
    patterns = [rule.pattern for rule in rules]
    protected = {ref.name for ref in refs if any(protections.matches(pattern, ref.name) for pattern in patterns)}
    return {"rules": rules, "protected": protected}


def card_text(entries: list[dict]) -> str:
    """The README of a revision, for editing."""
    digest = card_digest(entries)
    if not digest:
        return ""
    with blobs.open(digest) as stream:
        return stream.read(READ).decode("utf-8", "replace")


def card_of(page: Heading) -> dict:
    """{"card": the card to show as sanitised HTML, "newer_card": whether main's differs from it}."""
    shown = page.card_revision
    digest = card_digest(queries.files(shown))
    newest = digest if shown == page.head or page.head is None else card_digest(queries.files(page.head))
    return {"card": card_html(page, digest), "newer_card": newest != digest}


def card_html(page: Heading, digest: str) -> SafeString | str:
    """The card with this digest as sanitised HTML; its pictures and links lead into the revision it is shown of."""
    if not digest:
        return ""
    where = [page.repository.place, page.repository.name, page.card_revision.oid]
    return mark_safe(card_pages.card_html(digest, reverse("file", args=[*where, "x"]).removesuffix("x")))


def card_digest(entries: list[dict]) -> str:
    """The digest of a revision's README; "" without one."""
    return next((entry["sha256"] for entry in entries if entry["path"] == CARD), "")


def preview(page: Heading, row: Format, manifest: Manifest) -> list[dict]:
    """The first rows of each split: [{"name", "rows", "columns", "sample"}]."""
    columns = page.version.facts.get("columns") or []
    counted = page.version.facts.get("splits") or {}
    shown = []
    for path in row.weights_in(manifest):
        split, rows = path.rpartition(".")[0], first_rows(manifest[path].sha256)
        used = [column for column in columns if any(column in row for row in rows)]
        sample = [[cell(row.get(column, "")) for column in used] for row in rows]
        shown.append({"name": split, "rows": counted.get(split), "columns": used, "sample": sample})
    return shown


def cell(value: object) -> str:
    """A value of a row as text: words as they are, the rest as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def first_rows(sha256: str) -> list[dict]:
    """Up to PREVIEW_ROWS rows from the head of a JSONL file."""
    with blobs.open(sha256) as stream:
        lines = stream.read(PREVIEW_BYTES).split(b"\n")[:PREVIEW_ROWS]
    rows = []
    for line in lines:
        try:
            rows.append(json.loads(line))
        except ValueError:
            continue
    return [row for row in rows if isinstance(row, dict)]
