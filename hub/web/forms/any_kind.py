"""A form for a job of any kind, drawn from what its home and its recipe say of themselves.

Methods with pages of their own (merging, moving, generating, …) are better asked for there. A method that was just
added has a page at once: this one.
"""

from dataclasses import dataclass, field

from django.http import HttpRequest, QueryDict

from composition.registry import METHODS, Method
from hub import access, queries
from hub.errors import Invalid
from hub.services.jobs.request import JobRequest, named_request
from hub.web.forms import recipe_fields
from hub.web.forms.job_form import JobForm, typed


@dataclass(kw_only=True)
class AnyKindForm(JobForm):
    """Names as they were typed: adapters, datasets, a base, inputs with a role of their own, private texts by role."""

    inputs: list[str] = field(default_factory=list)
    datasets: list[str] = field(default_factory=list)
    base: str = ""
    roles: dict[str, str] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    keep: list[str] = field(default_factory=list)

    @property
    def takes_adapters(self) -> bool:
        """Whether the method takes any."""
        return self.method.needs.max_inputs != 0

    @property
    def takes_data(self) -> bool:
        """Whether the kind reads datasets."""
        return self.kind.reads_data or self.kind.datasets > 0

    def request(self) -> JobRequest:
        return named_request(self.viewer, **self._names())

    def outline(self) -> dict:
        body = {**self._names(), "files": dict.fromkeys(self.texts, "…")}
        body |= body.pop("roles")
        return {name: value for name, value in body.items() if value or name in ("kind", "recipe")}

    def context(self) -> dict:
        """For templates/jobs/new.html."""
        return {
            "here": "jobs",
            "asking": self,
            "bases": queries.bases(self.viewer),
            "role_rows": [{"role": role, "value": self.roles.get(role.name, "")} for role in self.kind.roles],
            "text_rows": [
                {"role": role, "value": self.texts.get(role, "")} for role in self.kind.file_roles(self.method)
            ],
            "fields": recipe_fields.drawn(self.method, self.recipe),
            **self.shared_context(),
        }

    def _names(self) -> dict:
        output = f"{self.namespace}/{self.name}" if self.name and self.kind.makes else None
        return {
            "kind": self.method.kind,
            "recipe": {name: value for name, value in self.recipe.items() if name != "kind"},
            "inputs": self.inputs,
            "datasets": self.datasets,
            "base": self.base or None,
            "roles": {role: name for role, name in self.roles.items() if name},
            "output": output,
            "files": self.texts,
            "keep": self.keep,
            "visibility": self.visibility or None,
        }


def read(request: HttpRequest) -> AnyKindForm:
    """The form of the kind that the address or the form names."""
    sent = request.method == "POST"
    viewer, form = access.viewer_of(request), request.POST if sent else request.GET
    method = _method(form.get("kind", ""))
    asking = AnyKindForm(
        viewer=viewer,
        method=method,
        recipe=recipe_fields.read(method, form, partly=not sent),
        inputs=_words(form, "inputs"),
        datasets=_words(form, "datasets"),
        base=form.get("base", "").strip(),
        **typed(viewer, form),
    )
    asking.roles = {role.name: form.get(role.name, "").strip() for role in asking.kind.roles}
    given = {role: form.get(f"file_{role}", "").replace("\r\n", "\n") for role in asking.kind.file_roles(method)}
    asking.texts = {role: text for role, text in given.items() if text.strip()}
    asking.keep = [word for word in asking.kind.keeps if form.get(f"keep_{word}") == "on"]
    return asking


def offered() -> list[Method]:
    """The methods that people can start."""
    return [method for method in METHODS.values() if method.offered]


def _method(kind: str) -> Method:
    known = {method.kind: method for method in offered()}
    if kind not in known:
        raise Invalid(f"There is no kind of job {kind!r}; choose one of {', '.join(known)}.", field="kind")
    return known[kind]


def _words(form: QueryDict, name: str) -> list[str]:
    """Names, one a line or divided by spaces or commas."""
    return [word for text in form.getlist(name) for word in text.replace(",", " ").split()]
