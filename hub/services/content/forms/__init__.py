"""A stored version in another form: one table, used by every door that serves files.

    ?expert=NAME   of a mixture: one expert, a plain LoRA                                     (mixture_parts)
    ?as=FORM       a row of FORMS: cat, uniform, gguf, …
    ?uniform=1     the same as ?as=uniform, also of an expert, of as=cat, and before an export
    ?uniform=0     of as=cat: as compact as can be; without it the layout is auto

A form is made as it is read: size, digest and any range are known, so downloads resume and are checked as files are.
A row makes files of files. Its `stage` says when it acts: on a mixture, on a LoRA's layout, or last, as an export.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from django.core.cache import cache

from composition.errors import CompositionError
from composition.formats.gguf.lora import GGUF_FILE, gguf_files
from composition.formats.kohya_writer import KOHYA_FILE, kohya_files
from composition.formats.mixture.parts import CAT_WARNING, cat_files, read_stack
from composition.formats.peft.layouts.choosing import AUTO, laid_out
from composition.formats.peft.layouts.uniform import uniform_files
from composition.formats.peft.names import CONFIG_FILE, WEIGHTS_FILE
from composition.formats.sources import FileSource
from hub import queries
from hub.access import Viewer
from hub.errors import Invalid, NotFound
from hub.http.file_responses import Content
from hub.models import BaseModel, Repository, Revision, Version
from hub.services.content.forms import mixture_parts
from hub.services.content.manifest import manifest_of
from hub.storage import digest

SECONDS_DIGESTS_ARE_KEPT = 7 * 24 * 3600
OF_MIXTURE, LAYOUT, EXPORT = range(3)
TRUE, FALSE = ("1", "true"), ("0", "false")

Made = Mapping[str, FileSource]


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What a form is made of: the files at hand (config and weights among them), and the base."""

    files: Made
    base: BaseModel | None

    @property
    def base_shapes(self) -> Mapping[str, list[int]] | None:
        """{module: [out, in]} of the base, None where they aren't known."""
        return self.base.shapes if self.base else None

    @property
    def base_model(self) -> str | None:
        """The base's id: what a served config names, whatever the pushed one called it."""
        return self.base.name if self.base else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """One row. `make` gives the files in this form and raises CompositionError where it can't.

    With `alone` they are all there is; else the version's other files stay beside them, its config and weights
    excepted. `version` changes when the bytes of a form do. `weights` names the files that count as a download.
    """

    name: str
    help: str
    stage: int
    make: Callable[[Given], Made]
    version: int = 1
    alone: bool = True
    warning: str = ""
    weights: tuple[str, ...] = (WEIGHTS_FILE,)


def _cat(given: Given) -> Made:
    return cat_files(read_stack(given.files[CONFIG_FILE], given.files[WEIGHTS_FILE]))


def _gguf(given: Given) -> Made:
    if given.base is None:
        raise CompositionError("form.no_base", "A GGUF file is written for a base, and this revision has none.")
    return gguf_files(given.files, given.base.config, given.base.name)


def _kohya(given: Given) -> Made:
    if given.base is None:
        raise CompositionError("form.no_base", "sd-scripts' names follow from a base, and this revision has none.")
    return kohya_files(given.files, given.base.config)


ROWS = (
    Form(name="cat", help="of a mixture: one LoRA, the experts' sum", stage=OF_MIXTURE, make=_cat, warning=CAT_WARNING),
    Form(
        name="uniform",
        help="a plain LoRA as every server reads it right",
        stage=LAYOUT,
        make=lambda given: uniform_files(given.files, given.base_shapes, base_model=given.base_model),
        alone=False,
    ),
    Form(
        name="kohya",
        help="of an image model: the names of sd-scripts",
        stage=EXPORT,
        make=_kohya,
        weights=(KOHYA_FILE,),
    ),
    Form(name="gguf", help="a GGUF LoRA for llama.cpp", stage=EXPORT, make=_gguf, weights=(GGUF_FILE,)),
)
FORMS: dict[str, Form] = {row.name: row for row in ROWS}
LAID_OUT = Form(
    name="auto",
    help="uniform where some server needs it",
    stage=LAYOUT,
    make=lambda given: laid_out(given.files, AUTO, given.base_shapes, base_model=given.base_model) or given.files,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The form that a request names; nothing asked is the version as it is stored."""

    expert: str | None = None
    form: str | None = None
    uniform: bool | None = None

    @classmethod
    def of(cls, query: Mapping[str, str]) -> "Asked":
        """From a query's `expert`, `as` and `uniform`. Raises Invalid."""
        said = query.get("uniform")
        if said not in (None, *TRUE, *FALSE):
            raise Invalid(f"uniform={said!r}; expected 1, or 0 for the compact form of as=cat.", field="uniform")
        return cls(expert=query.get("expert"), form=query.get("as"), uniform=None if said is None else said in TRUE)

    def steps(self) -> list[Form]:
        """The rows, in the order they act. Raises Invalid for an unknown form or two that exclude each other."""
        if self.form is not None and self.form not in FORMS:
            raise Invalid(f"There is no form as={self.form!r}; use one of: {', '.join(FORMS)}.", field="as")
        rows = [FORMS[self.form]] if self.form else []
        if self.expert is not None and any(row.stage == OF_MIXTURE for row in rows):
            raise Invalid("Ask for one expert or for all as one LoRA, not for both.", field="as")
        if self.uniform and FORMS["uniform"] not in rows:
            rows.append(FORMS["uniform"])
        if self.uniform is None and any(row.stage == OF_MIXTURE for row in rows):
            rows.append(LAID_OUT)
        return sorted(rows, key=lambda row: row.stage)


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """The files of a form by path. `source` is the version they belong to, None where they were cut out of a mixture.

    `key` says what a made file is, for its digest: equal keys are equal bytes. `forms` names the rows that were used.
    """

    files: Made
    repository: Repository
    source: Version | None = None
    warning: str = ""
    key: str = ""
    weights: frozenset[str] = field(default_factory=frozenset)
    forms: tuple[str, ...] = ()

    def file(self, path: str) -> Content:
        """One of them, or NotFound."""
        if path not in self.files:
            there = ", ".join(self.files)
            raise NotFound(f"There is no file {path!r} in this form; it has {there}.", code="file_not_found")
        file = self.files[path]
        if isinstance(file, Content):
            return file
        return Content(_digest(f"form:{self.key}:{path}", file), file.size, file.open)

    def listing(self) -> list[dict]:
        """Path, size and SHA-256 of each file, by path."""
        rows = ((path, self.file(path)) for path in sorted(self.files))
        return [{"path": path, "size": one.size, "sha256": one.sha256} for path, one in rows]


class Found(NamedTuple):
    """A file to serve, the repository it is of, and whether it counts as a download there."""

    content: Content
    repository: Repository
    counts: bool


def part_of(viewer: Viewer, revision: Revision, asked: Asked) -> Part | None:
    """What is asked for of a revision; None where it is the revision as it is.

    Raises NotFound for an expert of what is no mixture or lacks it, Invalid for forms that don't exist, and
    CompositionError `form.not_plain`, where a form can't be made of this adapter, with the reason.
    """
    steps = asked.steps()
    if asked.expert is None and not steps:
        return None
    if steps and steps[0].stage == OF_MIXTURE:
        mixture_parts.check_mixture(revision)
    part = _start(viewer, revision, asked.expert)
    base = part.source.base if part.source else revision.version.base if revision.version else None
    for step in steps:
        part = _after(part, step, base)
    return part


def file_of(viewer: Viewer, revision: Revision, path: str, asked: Asked) -> Found:
    """A file of a revision, or of the form that is asked for."""
    part = part_of(viewer, revision, asked)
    if part:
        return Found(part.file(path), part.repository, path in part.weights)
    blob = queries.file(revision, path)
    return Found(Content.of_blob(blob.sha256, blob.size), revision.repository, False)


def _start(viewer: Viewer, revision: Revision, expert: str | None) -> Part:
    """The files as they are stored, or an expert's."""
    if expert is not None:
        cut = mixture_parts.expert_part(viewer, revision, expert)
        repository = cut.source.repository if cut.source else revision.repository
        if cut.source:
            return Part(files=_stored(cut.source.revision), repository=repository, source=cut.source, key=cut.key)
        return Part(files=cut.files, repository=repository, key=cut.key)
    files = _stored(revision)
    key = ":".join(files[name].sha256 for name in (CONFIG_FILE, WEIGHTS_FILE) if name in files)
    return Part(files=files, repository=revision.repository, source=revision.version, key=key)


def _stored(revision: Revision) -> dict[str, Content]:
    return {path: Content.of_blob(*entry) for path, entry in manifest_of(revision).items()}


def _after(part: Part, step: Form, base: BaseModel | None) -> Part:
    """The part in the form of one row more."""
    made = dict(step.make(Given(files=part.files, base=base)))
    kept = {} if step.alone else {path: f for path, f in part.files.items() if path not in (CONFIG_FILE, WEIGHTS_FILE)}
    fingerprint = f"{base.pk}.{base.fingerprint}" if base else ""
    return Part(
        files={**kept, **made},
        repository=part.repository,
        source=None if step.stage == OF_MIXTURE else part.source,
        warning=" ".join(filter(None, (part.warning, step.warning))),
        key=f"{part.key}:{step.name}.{step.version}:{fingerprint}",
        weights=frozenset(step.weights),
        forms=(*part.forms, step.name),
    )


def _digest(key: str, file: FileSource) -> str:
    """SHA-256 of a made file, which is read once for it; equal keys are equal bytes."""
    found = cache.get(key)
    if found is None:
        with file.open() as stream:
            found, _ = digest(stream)
        cache.set(key, found, SECONDS_DIGESTS_ARE_KEPT)
    return found
