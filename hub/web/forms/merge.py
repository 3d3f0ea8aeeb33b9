"""The page where adapters become one, merged or as a mixture: who takes part, who can't and why, what comes of it."""

import json
import uuid
from dataclasses import dataclass, field

from django.http import HttpRequest, QueryDict

from composition.registry import Method, assemble_methods, merge_methods
from hub import access, queries
from hub.access import Viewer
from hub.errors import Invalid
from hub.models import Kind, Version, Visibility
from hub.services import assembly_growth
from hub.web import basket
from hub.web.forms import recipe_fields
from hub.web.forms.refusal import Refused

CANDIDATES = 12
VERBS = ("merge", "assemble")


@dataclass
class Merging:
    """What the form holds: method, recipe, versions, output. `start` and `check` take `asked()`."""

    viewer: Viewer
    method: Method
    recipe: dict
    versions: list[Version]
    namespace: str = ""
    name: str = ""
    visibility: str = ""
    key: str = ""
    datasets: list[str] = field(default_factory=list)
    refused: Refused = field(default_factory=Refused)

    @property
    def assembles(self) -> bool:
        """Whether a mixture is made, which may learn from data."""
        return self.method.verb == "assemble"

    @property
    def labelled(self) -> bool:
        """Whether data stand beside each adapter, and not as one mixed text."""
        return self.assembles and self.method.recipe.needs_labels

    def asked(self) -> dict:
        """The arguments of `queue_job` and `check_job`."""
        return {
            "actor": access.require_user(self.viewer),
            "kind": self.method.kind,
            "recipe": self.recipe,
            "inputs": self.versions,
            "datasets": self.chosen_data(),
            "output": (self.namespace, self.name),
            "visibility": self.visibility or None,
        }

    def chosen_data(self) -> list[Version]:
        """The datasets, in the adapters' order; Invalid where some adapters have one and others have none."""
        given = [name for name in self.datasets if name]
        joining = self.versions[assembly_growth.grows(self.method.kind, self.versions) :]
        if self.labelled and given and len(given) < len(joining):
            raise Invalid(f"Data for {len(given)} of {len(joining)} adapters: choose some for each, or for none.")
        return [access.parse_input(self.viewer, name, kind=Kind.DATASET) for name in given]

    def rows(self) -> list[dict]:
        """The chosen versions with their weights or data, unfit ones with the reason."""
        if not self.versions:
            return []
        weights = self.recipe.get("weights") or []
        rows = queries.mergeable(self.versions, self.method.kind)
        for index, row in enumerate(rows):
            row["weight"] = weights[index] if index < len(weights) else 1
            row["data"] = self.datasets[index] if self.labelled and index < len(self.datasets) else ""
            row["grows"] = not index and assembly_growth.grows(self.method.kind, self.versions)
            row["name"] = f"{row['version'].repository.full_name}@{row['version'].label}"
        return rows

    def as_json(self) -> str:
        """The request a program would POST to /api/v1/jobs."""
        names = [f"{version.repository.full_name}@{version.label}" for version in self.versions]
        recipe = {key: value for key, value in self.recipe.items() if key != "kind"}
        output = f"{self.namespace}/{self.name}" if self.name else None
        body = {"kind": self.method.kind, "recipe": recipe, "inputs": names, "output": output}
        if any(self.datasets):
            body["datasets"] = [name for name in self.datasets if name]
        if self.visibility:
            body["visibility"] = self.visibility
        return json.dumps(body, indent=2)

    def context(self, request: HttpRequest, report: dict | None = None) -> dict:
        """For templates/merge/page.html."""
        find = request.GET.get("find", "")
        return {
            "here": "merge",
            "merging": self,
            "rows": self.rows(),
            "methods": merge_methods(),
            "mixtures": assemble_methods(),
            "datasets": queries.newest_datasets(self.viewer) if self.assembles else [],
            "fields": recipe_fields.drawn(self.method, self.recipe, without=("weights",)),
            "namespaces": queries.writable(self.viewer),
            "refused": self.refused,
            "report": report,
            "find": find,
            "candidates": candidates(self.viewer, find, self.versions, self.method.kind),
            "visibilities": Visibility.values,
        }


def opened(request: HttpRequest) -> Merging:
    """The form as it opens: the basket, the method of the address, and an earlier job's recipe where one is named."""
    viewer = access.viewer_of(request)
    form = request.GET
    recipe, name, kind = {}, form.get("name", ""), form.get("kind", "")
    if again := form.get("again", ""):
        job = access.job(viewer, int(again) if again.isdigit() and len(again) < 19 else 0)
        recipe, name, kind = job.recipe, job.output_name, kind or job.kind
    method = recipe_fields.method_of(kind or merge_methods()[0].kind, *VERBS)
    versions = basket.versions(viewer, basket.names(request))
    recipe = assembly_growth.continued(method.kind, recipe | recipe_fields.read(method, form, partly=True), versions)
    namespace = form.get("namespace", "") or next(iter(queries.writable(viewer)), "")
    return Merging(viewer, method, recipe, versions, namespace, name, form.get("visibility", ""), uuid.uuid4().hex)


def sent(request: HttpRequest) -> Merging:
    """The form as it was sent."""
    form: QueryDict = request.POST
    viewer = access.viewer_of(request)
    method = recipe_fields.method_of(form.get("kind", ""), *VERBS)
    versions = [access.parse_input(viewer, name, kind=Kind.ADAPTER) for name in form.getlist("inputs")]
    return Merging(
        viewer,
        method,
        recipe_fields.read(method, form),
        versions,
        form.get("namespace", "").strip(),
        form.get("name", "").strip(),
        form.get("visibility", ""),
        form.get("key", "")[:64],
        form.getlist("datasets"),
    )


def candidates(viewer: Viewer, find: str, chosen: list[Version], kind: str) -> list[dict]:
    """Adapters to add, found by words; beside those that can't join stands why."""
    found = list(queries.repositories(viewer, kind=Kind.ADAPTER, search=find)[: CANDIDATES + len(chosen)])
    newest = queries.latest_versions(found)
    held = {version.repository_id for version in chosen}
    offered = [newest[row.pk] for row in found if row.pk in newest and row.pk not in held][:CANDIDATES]
    if not offered:
        return []
    first = chosen[:1] or []
    answers = queries.mergeable([*first, *offered], kind)[len(first) :]
    if not first:
        answers = [queries.mergeable([version], kind)[0] for version in offered]
    return answers
