"""What a person asks for, the same from a form, a REST body, a client or a stored job.

A `JobRequest` says what shall be done with which versions, and does not say whether it can be: that is
`prepare`'s. Names are turned into versions in one place, `named_request`; what its asker can't see is 404 there.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from hub import access
from hub.access import Viewer
from hub.errors import Invalid, NotFound
from hub.models import ADAPTER, DATASET, BaseModel, Job, Kind, Priority, Version
from hub.names import DATASETS
from hub.services.jobs.files import Given, held


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRequest:
    """`inputs` is role → versions in their order; `output` is (namespace, name).

    `files` is role → text, {"companion": name} or what else the kind reads; `keep` are kinds of companions to keep
    beside the result; `priority` is a word of `Priority`. `held` are the files of a stored job, which are fixed by
    digest and not looked for again.
    """

    kind: str
    recipe: Mapping[str, object] = field(default_factory=dict)
    inputs: Mapping[str, tuple[Version, ...]] = field(default_factory=dict)
    datasets: tuple[Version, ...] = ()
    base: BaseModel | None = None
    output: tuple[str, str] | None = None
    visibility: str | None = None
    files: Mapping[str, object] = field(default_factory=dict)
    keep: tuple[str, ...] = ()
    priority: str = Priority.NORMAL.label
    held: tuple[Given, ...] | None = None

    @property
    def adapters(self) -> tuple[Version, ...]:
        """The inputs that need no role's name."""
        return self.inputs.get(ADAPTER, ())

    @property
    def others(self) -> dict[str, Version]:
        """role → version of the inputs with a role of their own."""
        return {role: versions[0] for role, versions in self.inputs.items() if role != ADAPTER and versions}

    @property
    def versions(self) -> list[Version]:
        """All that the job reads: inputs of every role, then datasets."""
        return [*(version for versions in self.inputs.values() for version in versions), *self.datasets]

    def replace(self, **changes: object) -> "JobRequest":
        """The same with other values."""
        return replace(self, **changes)

    @classmethod
    def of(cls, job: Job) -> "JobRequest":
        """What a stored job asks for, so that it can be prepared again."""
        inputs: dict[str, list[Version]] = {}
        rows = job.inputs.select_related("version__repository__namespace", "version__base")
        for row in rows:
            inputs.setdefault(row.role, []).append(row.version)
        datasets = tuple(inputs.pop(DATASET, ()))
        return cls(
            kind=job.kind,
            recipe=job.recipe,
            inputs={role: tuple(versions) for role, versions in inputs.items()},
            datasets=datasets,
            base=job.base,
            output=(job.output_namespace.name, job.output_name) if job.output_namespace else None,
            visibility=job.output_visibility if job.output_namespace else None,
            keep=tuple(job.keep),
            priority=str(job.get_priority_display()),  # a number where a later release has given another
            held=tuple(held(job)),
        )

    def to_body(self) -> dict[str, object]:
        """The body a program would POST to /api/v1/jobs, without texts and without fields that were not given."""
        body = {
            "kind": self.kind,
            "recipe": {name: value for name, value in self.recipe.items() if name not in ("kind", "version")},
            "inputs": [str(version) for version in self.adapters],
            "datasets": [str(version) for version in self.datasets],
            "base": self.base and str(self.base),
            **{role: str(version) for role, version in self.others.items()},
            "output": "/".join(self.output) if self.output and all(self.output) else None,
            "files": {role: _outline(value) for role, value in self.files.items()},
            "keep": list(self.keep),
            "visibility": self.visibility,
            "priority": self.priority if self.priority != Priority.NORMAL.label else None,
        }
        return {name: value for name, value in body.items() if value or name in ("kind", "recipe")}


def named_request(
    viewer: Viewer,
    *,
    inputs: Sequence[str] = (),
    datasets: Sequence[str] = (),
    base: str | None = None,
    output: str | None = None,
    roles: Mapping[str, str | None] | None = None,
    keep: Sequence[str] = (),
    **rest: object,
) -> JobRequest:
    """The request of these names; `roles` is role → name, `rest` goes on as it is. NotFound for what can't be seen."""
    named = {ADAPTER: tuple(access.parse_input(viewer, text) for text in inputs)}
    named |= {role: (access.parse_input(viewer, text),) for role, text in (roles or {}).items() if text}
    return JobRequest(
        inputs={role: versions for role, versions in named.items() if versions},
        datasets=tuple(_dataset(viewer, text) for text in datasets),
        base=access.base(base) if base else None,
        output=output_name(output) if output else None,
        keep=tuple(keep),
        **rest,
    )


def _dataset(viewer: Viewer, text: str) -> Version:
    """The dataset of this name, though a model has it too; where there is none, what else has it, to be refused."""
    try:
        return access.parse_input(viewer, text, kind=Kind.DATASET)
    except NotFound as error:
        if error.code != NotFound.code:
            raise
    return access.parse_input(viewer, text)


def output_name(text: str) -> tuple[str, str]:
    """(namespace, name) of `ns/name`; no job makes a dataset."""
    if text.startswith(DATASETS):
        raise Invalid(f"output={text!r} names a dataset, and jobs make models; write namespace/name.", field="output")
    namespace, slash, name = text.partition("/")
    if not slash or not namespace or not name:
        raise Invalid(f"output={text!r} is not a repository; write namespace/name.", field="output")
    return namespace, name


def _outline(value: object) -> object:
    """A file's value with its text left out."""
    if isinstance(value, list):
        return [_outline(item) for item in value]
    if isinstance(value, Mapping):
        return {name: "…" if name in ("text", "base64") else item for name, item in value.items()}
    return "…"
