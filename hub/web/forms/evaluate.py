"""The evaluation form: one adapter version or a bare base, one dataset, and the recipe's fields."""

from dataclasses import dataclass

from django.http import QueryDict

from composition.recipes import EvaluateRecipe
from hub import access, queries
from hub.access import Viewer
from hub.models import ADAPTER, BaseModel, Kind, Version
from hub.services.jobs.request import JobRequest
from hub.web.forms import recipe_fields
from hub.web.forms.job_form import JobForm, named_version, typed


@dataclass(kw_only=True)
class EvaluateForm(JobForm):
    """What is measured, and on what."""

    version: Version | None
    base: BaseModel | None
    dataset: Version | None

    def request(self) -> JobRequest:
        return (
            super()
            .request()
            .replace(
                inputs={ADAPTER: (self.version,)} if self.version else {},
                datasets=(self.dataset,) if self.dataset else (),
                base=self.base,
            )
        )

    def context(self) -> dict:
        """For templates/merge/evaluate.html."""
        return {
            "evaluating": self,
            "fields": recipe_fields.drawn(self.method, self.recipe),
            "datasets": queries.newest_datasets(self.viewer),
            **self.shared_context(),
        }


def read(viewer: Viewer, form: QueryDict, *, sent: bool) -> EvaluateForm:
    """The form from the address or as sent; names that can't be seen are 404."""
    method, base = recipe_fields.method_for(EvaluateRecipe), form.get("base", "").strip()
    return EvaluateForm(
        viewer=viewer,
        method=method,
        recipe=recipe_fields.read(method, form) if sent else {},
        version=named_version(viewer, form, "version", Kind.ADAPTER),
        base=access.base(base) if base else None,
        dataset=named_version(viewer, form, "dataset", Kind.DATASET),
        **typed(viewer, form),
    )
