"""The page that trains a generator: the base, the data it learns from, where it begins, the settings, the result."""

from dataclasses import dataclass

from django.http import HttpRequest

from composition.recipes import TrainGeneratorRecipe
from hub import access, queries
from hub.access import Viewer
from hub.models import BaseModel, Kind, Version
from hub.queries.generator import generators_of
from hub.services.jobs.kinds.generate import GENERATOR
from hub.services.jobs.kinds.train_generator import ROWS
from hub.services.jobs.request import JobRequest
from hub.web.forms import recipe_fields
from hub.web.forms.job_form import JobForm, named_version, typed

# The settings that decide most, shown at once; the others open on demand.
FIRST = ("stage", "steps", "inner", "r", "start", "shift", "windows", "batch_tokens", "learning_rate", "holdout")


@dataclass(kw_only=True)
class TrainGeneratorForm(JobForm):
    """`start_from` is the generator to begin from."""

    base: BaseModel | None
    start_from: Version | None
    datasets: list[Version]

    def request(self) -> JobRequest:
        return (
            super()
            .request()
            .replace(
                base=self.base,
                datasets=tuple(self.datasets),
                inputs={GENERATOR: (self.start_from,)} if self.start_from else {},
            )
        )

    def context(self) -> dict:
        """For templates/generate/train.html."""
        return {
            "here": "generate",
            "training": self,
            "bases": [base for base in queries.bases(self.viewer) if base.fingerprint],
            "starts": generators_of(self.viewer),
            "offered": data_of(self.viewer, self.datasets),
            **recipe_fields.parted(self.method, self.recipe, FIRST),
            **self.shared_context(),
        }


def data_of(viewer: Viewer, chosen: list[Version]) -> list[dict]:
    """The datasets a generator can learn from, the chosen ones first: [{"dataset", "rows": "train: 80 of text", …}]."""
    newest = [one for one in queries.newest_datasets(viewer) if one not in chosen]
    rows = []
    for dataset in [*chosen, *newest]:
        splits, kinds = dataset.facts.get("splits", {}), dataset.facts.get("kinds", {})
        told = [f"{split}: {splits[split]:,} of {kind}" for split, kind in kinds.items() if kind in ROWS.values()]
        if told or dataset in chosen:
            rows.append({"dataset": dataset, "chosen": dataset in chosen, "rows": ", ".join(told)})
    return rows


def read(request: HttpRequest, *, sent: bool) -> TrainGeneratorForm:
    """The form as it opens or as it was sent; names that can't be seen are 404."""
    viewer, form = access.viewer_of(request), request.POST if sent else request.GET
    method, base = recipe_fields.method_for(TrainGeneratorRecipe), form.get("base", "").strip()
    training = TrainGeneratorForm(
        viewer=viewer,
        method=method,
        recipe=recipe_fields.read(method, form, partly=not sent),
        base=access.base(base) if base else None,
        start_from=named_version(viewer, form, "start", Kind.GENERATOR),
        datasets=[access.parse_input(viewer, name, kind=Kind.DATASET) for name in form.getlist("datasets") if name],
        **typed(viewer, form),
    )
    if training.base is None and training.start_from:
        training.base = training.start_from.base
    return training
