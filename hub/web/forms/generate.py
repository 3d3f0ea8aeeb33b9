"""The page that turns texts into an adapter: the texts and where they would be cut, base and generator, the result."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from django.http import HttpRequest

from composition.recipes import GenerateRecipe
from hub import access, queries
from hub.errors import Invalid
from hub.models import BaseModel, Kind, Version, Visibility
from hub.models.companions import CONTEXT
from hub.queries.generator import generators_of, parts_of
from hub.services.jobs.kinds.generate import GENERATOR, ONTO, WITHOUT
from hub.services.jobs.request import JobRequest
from hub.services.jobs.texts import MOST_DOCUMENTS, numbered
from hub.services.parsing.documents import FORMATS, MOST_BYTES, Document, read_documents
from hub.web.forms import recipe_fields
from hub.web.forms.job_form import JobForm, named_version, typed
from hub.web.forms.refusal import refusal_of

SHOWN_CHUNKS, SHOWN_CHARACTERS = 8, 220


@dataclass(kw_only=True)
class GenerateForm(JobForm):
    """The texts, who reads them, and what they are added to or taken from."""

    base: BaseModel | None
    generator: Version | None
    onto: Version | None
    without: Version | None
    documents: list[Document] = field(default_factory=list)
    keep: list[str] = field(default_factory=list)

    def request(self) -> JobRequest:
        others = {GENERATOR: self.generator, ONTO: self.onto, WITHOUT: self.without}
        texts = [{"name": one.name, "text": one.text} for one in self.documents]
        return (
            super()
            .request()
            .replace(
                base=self.base,
                inputs={role: (version,) for role, version in others.items() if version},
                files={CONTEXT: texts} if texts else {},
                keep=tuple(self.keep),
            )
        )

    def preview(self) -> dict:
        """Each text with its size and the beginnings of its chunks; tokens are estimates."""
        rows, window = [], self.recipe.get("window")
        window = window if isinstance(window, int) and window > 0 else self.method.recipe().window
        for one in self.documents:
            chunks = one.chunks(self.recipe.get("mode", ""), window)
            shown = [_beginning(chunk) for chunk in chunks[:SHOWN_CHUNKS]]
            rows.append({"document": one, "facts": one.facts(), "chunks": len(chunks), "shown": shown})
        return {"rows": rows, "tokens": sum(row["document"].tokens for row in rows), "window": window}

    def parts(self) -> list[Version]:
        """What can be taken away from the adapter that is added to; with what was asked for, even if it can't."""
        found = parts_of(self.viewer, self.onto) if self.onto else []
        return found if self.without in (None, *found) else [self.without, *found]

    def context(self) -> dict:
        """For templates/generate/page.html."""
        every = generators_of(self.viewer)
        ready = {version.base_id for version in every}
        return {
            "here": "generate",
            "generating": self,
            "preview": self.preview() if self.documents else None,
            "writers": [one for one in every if self.base and one.base_id == self.base.pk],
            "bases": sorted(
                ({"base": base, "ready": base.pk in ready} for base in queries.bases(self.viewer)),
                key=lambda row: not row["ready"],
            ),
            "ready": bool(ready),
            "parts": self.parts(),
            "fields": recipe_fields.drawn(self.method, self.recipe),
            "formats": FORMATS,
            **self.shared_context(),
        }


def read(request: HttpRequest, *, sent: bool) -> GenerateForm:
    """The form as it opens or as it was sent; names that can't be seen are 404, bad texts go to `refused`."""
    viewer, form = access.viewer_of(request), request.POST if sent else request.GET
    method, base = recipe_fields.method_for(GenerateRecipe), form.get("base", "").strip()
    generating = GenerateForm(
        viewer=viewer,
        method=method,
        recipe=recipe_fields.read(method, form, partly=not sent),
        base=access.base(base) if base else None,
        generator=named_version(viewer, form, GENERATOR, Kind.GENERATOR),
        onto=named_version(viewer, form, ONTO, Kind.ADAPTER),
        without=named_version(viewer, form, WITHOUT, Kind.ADAPTER),
        **typed(viewer, form) | {"visibility": form.get("visibility", Visibility.PRIVATE)},
    )
    generating.keep = [word for word in generating.kind.keeps if form.get(f"keep_{word}") == "on"]
    if sent:
        with refusal_of(generating.refused):
            _read_documents(request, generating)
    _choose(generating)
    return generating


def _read_documents(request: HttpRequest, generating: GenerateForm) -> None:
    """The texts kept from the form before, uploaded and pasted; those before a bad one stay."""
    found: list[Document] = []
    for document in read_documents(_handed_in(request)):
        found.append(document)
        generating.documents = numbered(found)


def _handed_in(request: HttpRequest) -> Iterator[tuple[str, bytes]]:
    form, files = request.POST, request.FILES.getlist("files")
    kept = list(zip(form.getlist("kept_name"), form.getlist("kept_text"), strict=False))
    yield from ((name, text.encode()) for name, text in kept)
    if len(kept) + len(files) > MOST_DOCUMENTS:
        raise Invalid(f"{len(kept) + len(files)} texts were given; at most {MOST_DOCUMENTS} at a time.", field="files")
    for file in files:
        if file.size > MOST_BYTES:
            raise Invalid(f"{file.name} has {file.size:,} bytes; at most {MOST_BYTES:,} are read.", field="files")
        yield file.name, file.read()
    if form.get("text", "").strip():
        yield "pasted.txt", form["text"].encode()


def _choose(generating: GenerateForm) -> None:
    """The base where none is chosen: the generator's, the adapter's that is added to, or the first that has one."""
    if generating.base is None:
        given = generating.generator or generating.onto or next(iter(generators_of(generating.viewer)), None)
        generating.base = given and given.base


def _beginning(chunk: str) -> str:
    line = " ".join(chunk[: 2 * SHOWN_CHARACTERS].split())
    return line[:SHOWN_CHARACTERS] + ("…" if len(line) > SHOWN_CHARACTERS or len(chunk) > 2 * SHOWN_CHARACTERS else "")
