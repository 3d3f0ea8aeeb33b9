"""The evaluation form: one adapter version or a bare base, one dataset, and the recipe's fields."""

from dataclasses import dataclass, field

from django.http import QueryDict

from composition.registry import Method
from hub import access, queries
from hub.access import Viewer
from hub.models import BaseModel, Kind, Version
from hub.web.forms import recipe_fields
from hub.web.forms.refusal import Refused


@dataclass
class Evaluating:
    """What the form holds."""

    viewer: Viewer
    method: Method
    recipe: dict
    version: Version | None
    base: BaseModel | None
    dataset: Version | None
    refused: Refused = field(default_factory=Refused)

    def asked(self) -> dict:
        """The arguments of `queue_job`."""
        return {
            "actor": access.require_user(self.viewer),
            "kind": self.method.kind,
            "recipe": self.recipe,
            "inputs": [self.version] if self.version else [],
            "datasets": [self.dataset] if self.dataset else [],
            "base": self.base,
        }

    def context(self) -> dict:
        """For templates/merge/evaluate.html."""
        return {
            "evaluating": self,
            "fields": recipe_fields.drawn(self.method, self.recipe),
            "datasets": queries.newest_datasets(self.viewer),
            "refused": self.refused,
        }


def read(viewer: Viewer, form: QueryDict, *, sent: bool) -> Evaluating:
    """The form from the address or as sent; names that can't be seen are 404."""
    method = recipe_fields.method_of("evaluate", "evaluate")
    version, base, dataset = (form.get(name, "").strip() for name in ("version", "base", "dataset"))
    return Evaluating(
        viewer,
        method,
        recipe_fields.read(method, form) if sent else {},
        access.parse_input(viewer, version, kind=Kind.ADAPTER) if version else None,
        access.base(base) if base else None,
        access.parse_input(viewer, dataset, kind=Kind.DATASET) if dataset else None,
    )
