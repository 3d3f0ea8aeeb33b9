"""The page that trains a generator: the base, the data it learns from, where it begins, the settings, the result."""

import json
import uuid
from dataclasses import dataclass, field

from django.http import HttpRequest

from composition.recipes.train_generator import TRAIN_VERB
from composition.registry import Method
from hub import access, queries
from hub.access import Viewer
from hub.models import BaseModel, Kind, Version, Visibility
from hub.queries import generator
from hub.services.generation_check import GENERATOR, ROWS
from hub.web.forms import recipe_fields
from hub.web.forms.refusal import Refused

# The settings that decide most, shown at once; the others open on demand.
FIRST = ("stage", "steps", "inner", "r", "start", "shift", "windows", "batch_tokens", "learning_rate", "holdout")


@dataclass
class Training:
    """What the form holds. `asked()` are the arguments of `queue_job` and `check_job`."""

    viewer: Viewer
    method: Method
    recipe: dict
    base: BaseModel | None
    start: Version | None
    datasets: list[Version]
    namespace: str = ""
    name: str = ""
    visibility: str = ""
    key: str = ""
    refused: Refused = field(default_factory=Refused)

    def asked(self) -> dict:
        """The arguments of `queue_job` and `check_job`."""
        return {
            "actor": access.require_user(self.viewer),
            "kind": self.method.kind,
            "recipe": self.recipe,
            "base": self.base,
            "datasets": self.datasets,
            "others": {GENERATOR: self.start} if self.start else {},
            "output": (self.namespace, self.name),
            "visibility": self.visibility or None,
        }

    def as_json(self) -> str:
        """The request a program would POST to /api/v1/jobs."""
        body = {
            "kind": self.method.kind,
            "recipe": {key: value for key, value in self.recipe.items() if key != "kind"},
            "base": self.base and self.base.name,
            "datasets": [str(one) for one in self.datasets],
            "generator": self.start and str(self.start),
            "output": f"{self.namespace}/{self.name}" if self.name else None,
            "visibility": self.visibility,
        }
        return json.dumps({key: value for key, value in body.items() if value}, indent=2)

    def context(self, report: dict | None = None) -> dict:
        """For templates/generate/train.html."""
        return {
            "here": "generate",
            "training": self,
            "bases": [base for base in queries.bases(self.viewer) if base.fingerprint],
            "starts": generator.generators_of(self.viewer),
            "offered": data_of(self.viewer, self.datasets),
            **recipe_fields.parted(self.method, self.recipe, FIRST),
            "namespaces": queries.writable(self.viewer),
            "visibilities": Visibility.values,
            "refused": self.refused,
            "report": report,
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


def read(request: HttpRequest, *, sent: bool) -> Training:
    """The form as it opens or as it was sent; names that can't be seen are 404."""
    viewer, form = access.viewer_of(request), request.POST if sent else request.GET
    method = recipe_fields.method_of(TRAIN_VERB, TRAIN_VERB)
    base, start = (form.get(name, "").strip() for name in ("base", "start"))
    training = Training(
        viewer,
        method,
        recipe_fields.read(method, form, partly=not sent),
        access.base(base) if base else None,
        access.parse_input(viewer, start, kind=Kind.GENERATOR) if start else None,
        [access.parse_input(viewer, name, kind=Kind.DATASET) for name in form.getlist("datasets") if name],
        form.get("namespace", "").strip() or next(iter(queries.writable(viewer)), ""),
        form.get("name", "").strip(),
        form.get("visibility", ""),
        form.get("key", "")[:64] or uuid.uuid4().hex,
    )
    if training.base is None and training.start:
        training.base = training.start.base
    return training
