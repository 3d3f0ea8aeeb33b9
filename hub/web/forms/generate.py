"""The page that turns texts into an adapter: the texts and where they would be cut, base and generator, the result."""

import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field

from django.http import HttpRequest

from composition.recipes.generate import VERB
from composition.registry import Method
from hub import access, queries
from hub.access import Viewer
from hub.errors import Invalid
from hub.models import BaseModel, Kind, Version, Visibility
from hub.queries import generator as generators
from hub.services.content.documents import FORMATS, MOST_BYTES, Document, read_documents
from hub.services.generation_files import MOST_DOCUMENTS, ONTO, WITHOUT, numbered
from hub.web.forms import recipe_fields
from hub.web.forms.refusal import Refused, refusal_of

SHOWN_CHUNKS, SHOWN_CHARACTERS = 8, 220
KEEP = ("context", "state")


@dataclass
class Generating:
    """What the form holds. `asked()` are the arguments of `queue_job` and `check_job`."""

    viewer: Viewer
    method: Method
    recipe: dict
    base: BaseModel | None
    generator: Version | None
    onto: Version | None
    without: Version | None = None
    documents: list[Document] = field(default_factory=list)
    keep: list[str] = field(default_factory=list)
    namespace: str = ""
    name: str = ""
    visibility: str = Visibility.PRIVATE
    key: str = ""
    refused: Refused = field(default_factory=Refused)

    def asked(self) -> dict:
        """The arguments of `queue_job` and `check_job`."""
        others = {"generator": self.generator, ONTO: self.onto, WITHOUT: self.without}
        return {
            "actor": access.require_user(self.viewer),
            "kind": self.method.kind,
            "recipe": self.recipe,
            "base": self.base,
            "output": (self.namespace, self.name),
            "visibility": self.visibility or None,
            "files": {"context": [{"name": one.name, "text": one.text} for one in self.documents]},
            "others": {role: version for role, version in others.items() if version},
            "keep": self.keep,
        }

    def as_json(self) -> str:
        """The request a program would POST to /api/v1/jobs, the texts left out."""
        files = [{"name": one.name, "text": "…"} for one in self.documents]
        body = {
            "kind": self.method.kind,
            "recipe": {key: value for key, value in self.recipe.items() if key != "kind"},
            "base": self.base and self.base.name,
            "generator": self.generator and str(self.generator),
            ONTO: self.onto and str(self.onto),
            WITHOUT: self.without and str(self.without),
            "output": f"{self.namespace}/{self.name}" if self.name else None,
            "files": {"context": files} if files else None,
            "keep": self.keep,
            "visibility": self.visibility,
        }
        return json.dumps({key: value for key, value in body.items() if value}, indent=2)

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
        found = generators.parts_of(self.viewer, self.onto) if self.onto else []
        return found if self.without in (None, *found) else [self.without, *found]

    def context(self, report: dict | None = None) -> dict:
        """For templates/generate/page.html."""
        every = generators.generators_of(self.viewer)
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
            "namespaces": queries.writable(self.viewer),
            "visibilities": Visibility.values,
            "formats": FORMATS,
            "refused": self.refused,
            "report": report,
        }


def read(request: HttpRequest, *, sent: bool) -> Generating:
    """The form as it opens or as it was sent; names that can't be seen are 404, texts that are none go to `refused`."""
    viewer, form = access.viewer_of(request), request.POST if sent else request.GET
    method = recipe_fields.method_of(VERB, VERB)
    names = ("base", "generator", ONTO, WITHOUT)
    base, generator, onto, without = (form.get(name, "").strip() for name in names)
    generating = Generating(
        viewer,
        method,
        recipe_fields.read(method, form, partly=not sent),
        access.base(base) if base else None,
        access.parse_input(viewer, generator, kind=Kind.GENERATOR) if generator else None,
        access.parse_input(viewer, onto, kind=Kind.ADAPTER) if onto else None,
        access.parse_input(viewer, without, kind=Kind.ADAPTER) if without else None,
        keep=[kind for kind in KEEP if form.get(f"keep_{kind}") == "on"],
        namespace=form.get("namespace", "").strip() or next(iter(queries.writable(viewer)), ""),
        name=form.get("name", "").strip(),
        visibility=form.get("visibility", Visibility.PRIVATE),
        key=form.get("key", "")[:64] or uuid.uuid4().hex,
    )
    if sent:
        with refusal_of(generating.refused):
            _read_documents(request, generating)
    _choose(generating)
    return generating


def _read_documents(request: HttpRequest, generating: Generating) -> None:
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


def _choose(generating: Generating) -> None:
    """The base where none is chosen: the generator's, the adapter's that is added to, or the first that has one."""
    if generating.base is None:
        given = generating.generator or generating.onto or next(iter(generators.generators_of(generating.viewer)), None)
        generating.base = given and given.base


def _beginning(chunk: str) -> str:
    line = " ".join(chunk[: 2 * SHOWN_CHARACTERS].split())
    return line[:SHOWN_CHARACTERS] + ("…" if len(line) > SHOWN_CHARACTERS or len(chunk) > 2 * SHOWN_CHARACTERS else "")
