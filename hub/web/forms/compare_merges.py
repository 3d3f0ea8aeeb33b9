"""Asking for a comparison of merges from the merge page: its adapters, weights and rank."""

import uuid
from dataclasses import dataclass, field

from django.http import HttpRequest

from composition.recipes.compare import CompareRecipe
from hub import access
from hub.models import ADAPTER, Kind, Version
from hub.services.jobs.request import JobRequest
from hub.web.forms import recipe_fields
from hub.web.forms.job_form import JobForm

TAKEN = ("rank", "weights", "across_quantisations")


@dataclass(kw_only=True)
class CompareForm(JobForm):
    """The adapters that stand on the merge page."""

    versions: list[Version] = field(default_factory=list)

    def request(self) -> JobRequest:
        return super().request().replace(inputs={ADAPTER: tuple(self.versions)})


def sent(request: HttpRequest) -> CompareForm:
    """The form as it was sent; of the fields those that a comparison shares with merges."""
    viewer, form = access.viewer_of(request), request.POST
    method = recipe_fields.method_for(CompareRecipe)
    recipe = recipe_fields.read(method, form, partly=True)
    return CompareForm(
        viewer=viewer,
        method=method,
        recipe={name: value for name, value in recipe.items() if name in TAKEN},
        versions=[access.parse_input(viewer, name, kind=Kind.ADAPTER) for name in form.getlist("inputs")],
        key=uuid.uuid4().hex,
    )
