"""The page where adapters become one, merged or as a mixture: who takes part, who can't and why, what comes of it."""

from dataclasses import dataclass, field

from django.http import HttpRequest, QueryDict

from composition.errors import CompositionError
from composition.registry import METHODS, brought_forward, methods_of, recipe_from_dict
from hub import access, queries
from hub.access import Viewer
from hub.errors import HubError, Invalid
from hub.models import ADAPTER, Kind, Version
from hub.services.base_families import WORD
from hub.services.jobs.kinds import kind_of
from hub.services.jobs.kinds.base import misfit
from hub.services.jobs.request import JobRequest
from hub.web import basket
from hub.web.forms import method_groups, recipe_fields
from hub.web.forms.job_form import JobForm, typed
from hub.web.pages import comparison

CANDIDATES = 12
VERBS = ("merge", "assemble")
PLAIN = {"csrfmiddlewaretoken", "kind", "key", "inputs", "check", "choose"}
"""What of the form does not go into an address: a method is chosen apart, the basket knows the adapters."""


@dataclass(kw_only=True)
class MergeForm(JobForm):
    """`datasets` are names in the adapters' order, "" for an adapter without one; or those of one mixed text."""

    versions: list[Version]
    datasets: list[str] = field(default_factory=list)
    kept: list[tuple[str, str]] = field(default_factory=list)
    """What was typed for fields that other methods have: it waits for one of them to be chosen."""

    @property
    def assembles(self) -> bool:
        """Whether a mixture is made, which routes tokens."""
        return self.method in methods_of("assemble")

    @property
    def reads_data(self) -> bool:
        """Whether the method may learn from data."""
        return self.kind.reads_data

    @property
    def weighted(self) -> bool:
        """Whether each adapter has a weight."""
        return getattr(self.method.recipe, "weighted", False)

    @property
    def labelled(self) -> bool:
        """Whether data stand beside each adapter, and not as one mixed text."""
        return self.kind.labels_data(self.method)

    @property
    def grows(self) -> bool:
        """Whether the adapters join the first one, a mixture."""
        return self.kind.grows(self._bare())

    @property
    def across(self) -> bool:
        """Whether quantised relatives are taken for one base."""
        return self.recipe.get(WORD) is True

    def request(self) -> JobRequest:
        return self._bare().replace(datasets=tuple(self._chosen_data()))

    def outline(self) -> dict:
        body = self._bare().to_body()
        names = [name for name in self.datasets if name]
        return body | ({"datasets": names} if names else {})

    def rows(self) -> list[dict]:
        """The chosen versions with their weights or data, unfit ones with the reason."""
        weights, rows = self.recipe.get("weights") or [], fits(self.versions, self.method.kind, self.across)
        for index, row in enumerate(rows):
            row["weight"] = weights[index] if index < len(weights) else 1
            row["data"] = self.datasets[index] if self.labelled and index < len(self.datasets) else ""
            row["grows"] = not index and self.grows
            row["name"] = str(row["version"])
        return rows

    def context(self, request: HttpRequest) -> dict:
        """For templates/merge/page.html."""
        find = request.GET.get("find", "")
        return {
            "here": "merge",
            "merging": self,
            "rows": self.rows(),
            "groups": method_groups.grouped(methods_of("merge"), methods_of("assemble"), self.method),
            "datasets": self.offered_data() if self.reads_data else [],
            "fields": recipe_fields.drawn(self.method, self.recipe, without=("weights",), settled=self.settled()),
            "comparison": comparison.latest(self.viewer, self.versions),
            "choosing": True,
            "find": find,
            "candidates": candidates(self.viewer, find, self.versions, self.method.kind, self.across),
            **self.shared_context(),
        }

    def offered_data(self) -> list[Version]:
        """The newest version of each dataset, and those that are chosen already."""
        newest = list(queries.newest_datasets(self.viewer))
        missing = dict.fromkeys(name for name in self.datasets if name and name not in map(str, newest))
        return newest + [found for name in missing if (found := self._seen(name))]

    def _seen(self, name: str) -> Version | None:
        try:
            return access.parse_input(self.viewer, name, kind=Kind.DATASET)
        except HubError:
            return None

    def settled(self) -> dict:
        """The recipe with what the chosen adapters decide filled in; {} where they don't fit it yet."""
        try:
            recipe = recipe_from_dict(self.recipe | {"kind": self.method.kind})
            inputs = self.kind.facts(self._bare())
            recipe.check(inputs)
            return recipe.settled(inputs).to_dict()
        except CompositionError:
            return {}

    def _bare(self) -> JobRequest:
        """The request without its data."""
        return super().request().replace(inputs={ADAPTER: tuple(self.versions)})

    def _chosen_data(self) -> list[Version]:
        """The datasets, in the adapters' order; Invalid where some adapters have one and others have none."""
        given = [name for name in self.datasets if name]
        joining = self.versions[self.grows :]
        if self.labelled and given and len(given) < len(joining):
            raise Invalid(
                f"Data for {len(given)} of {len(joining)} adapters: choose a dataset for each adapter, or for none."
            )
        return [access.parse_input(self.viewer, name, kind=Kind.DATASET) for name in given]


def opened(request: HttpRequest) -> MergeForm:
    """The form as it opens: the basket, the method of the address, and an earlier job's recipe where one is named."""
    viewer, form = access.viewer_of(request), request.GET
    recipe, kind, typed_in = {}, form.get("kind", ""), typed(viewer, form)
    if again := form.get("again", ""):
        job = access.job(viewer, int(again) if again.isdigit() and len(again) < 19 else 0)
        recipe, typed_in["name"], kind = brought_forward(job.recipe), job.output_name, kind or job.kind
    method = recipe_fields.method_of(kind or methods_of("merge")[0].kind, *VERBS)
    versions = basket.versions(viewer, basket.names(request))
    recipe = recipe | recipe_fields.read(method, form, partly=True)
    own = {row["name"] for row in recipe_fields.recipe_fields(method.recipe)}
    merging = MergeForm(
        viewer=viewer,
        method=method,
        recipe=recipe,
        versions=versions,
        datasets=form.getlist("datasets"),
        kept=[(name, form[name]) for name in form if name in recipe_fields.names(*VERBS) - own],
        **typed_in,
    )
    merging.recipe = dict(merging.kind.recipe_of(merging.request()))
    return merging


def typed_so_far(form: QueryDict, kind: str) -> str:
    """The query of the page's address where `kind` is chosen and all that was typed is kept."""
    address = QueryDict(mutable=True)
    address["kind"] = kind
    for name, values in form.lists():
        if name not in PLAIN and any(values):
            address.setlist(name, values)
    return address.urlencode()


def sent(request: HttpRequest) -> MergeForm:
    """The form as it was sent."""
    viewer, form = access.viewer_of(request), request.POST
    method = recipe_fields.method_of(form.get("kind", ""), *VERBS)
    return MergeForm(
        viewer=viewer,
        method=method,
        recipe=recipe_fields.read(method, form),
        versions=[access.parse_input(viewer, name, kind=Kind.ADAPTER) for name in form.getlist("inputs")],
        datasets=form.getlist("datasets"),
        **typed(viewer, form),
    )


def fits(chosen: list[Version], kind: str, across: bool = False) -> list[dict]:
    """For each version whether a method could take it beside the first one chosen, and if not, why."""
    home, method = kind_of(kind), METHODS[kind]
    recipe = method.recipe(**{WORD: True}) if across else None
    reasons = [misfit(home, method, chosen[0], version, recipe) for version in chosen]
    return [
        {"version": version, "fits": not reason, "reason": reason}
        for version, reason in zip(chosen, reasons, strict=True)
    ]


def candidates(viewer: Viewer, find: str, chosen: list[Version], kind: str, across: bool = False) -> list[dict]:
    """Adapters to add, found by words; beside those that can't join stands why."""
    found = queries.best(queries.repositories(viewer, kind=Kind.ADAPTER), find, CANDIDATES + len(chosen))
    newest, held = queries.latest_versions(found, whole=True), {version.repository_id for version in chosen}
    offered = [newest[row.pk] for row in found if row.pk in newest and row.pk not in held][:CANDIDATES]
    if chosen:
        return fits([chosen[0], *offered], kind, across)[1:]
    return [fits([version], kind)[0] for version in offered]
