"""The private inputs of a generation: its texts, and the kept states that it is added to or subtracts.

A state stands beside the adapter it came from, as the companion state/vN.safetensors; who can't see that one can't add
to its adapter.
"""

import base64
import binascii
import hashlib
from collections import Counter
from collections.abc import Mapping

from composition.recipes import GenerateRecipe
from hub import access
from hub.errors import Invalid
from hub.models import User, Version
from hub.services.content.companions import STATE
from hub.services.content.documents import MOST_TEXT, Document, read_documents
from hub.services.content.manifest import Entry
from hub.services.jobs.files import Given

CONTEXT = "context"
MOST_DOCUMENTS = 100
ONTO, WITHOUT = "onto", "without"
SENT = 'send {"name": "doc.md", "text": "…"} or {"name": "doc.pdf", "base64": "…"}, or a list of them'


def find(*, actor: User, recipe: GenerateRecipe, others: Mapping[str, Version], asked: Mapping[str, object]) -> list:
    """The job's files: `asked["context"]` is text, a document or a list of them. Raises Invalid, CompositionError."""
    for role in asked:
        if role != CONTEXT:
            raise Invalid(f"A generation has no file {role!r}; it takes: {CONTEXT}.", field="files")
    given = [_given(document) for document in documents_of(asked.get(CONTEXT))]
    for file in given:
        recipe.check_text(file.data.decode())
    if sum(len(file.data) for file in given) > 2 * MOST_TEXT:
        raise Invalid(f"The texts are longer than {2 * MOST_TEXT:,} bytes together. Give fewer.", field="files")
    states = [_state(actor, others[role], role) for role in (ONTO, WITHOUT) if role in others]
    if not given and WITHOUT not in others:
        raise Invalid(
            "Give a text that the adapter should know, as files.context.", field="files", code="generate.empty"
        )
    return [*given, *states]


def documents_of(value: object) -> list[Document]:
    """The documents in a request, each under a name of its own."""
    listed = value if isinstance(value, list) else [] if value is None else [value]
    if len(listed) > MOST_DOCUMENTS:
        raise Invalid(f"{len(listed)} texts were given; at most {MOST_DOCUMENTS} at a time.", field="files")
    return numbered(list(read_documents(map(_sent, listed))))


def numbered(documents: list[Document]) -> list[Document]:
    """The same with a number before names that came before."""
    taken: set[str] = set()
    found = []
    for document in documents:
        name, number = document.name, 1
        while name.lower() in taken:
            number += 1
            name = f"{number}-{document.name}"
        taken.add(name.lower())
        found.append(Document(name=name, text=document.text, pages=document.pages))
    return found


def _sent(value: object) -> tuple[str, bytes]:
    """(name, bytes) of a document as a request gives it."""
    if isinstance(value, str):
        return "text.txt", value.encode()
    if (
        not isinstance(value, dict)
        or not set(value) <= {"name", "text", "base64"}
        or len({"text", "base64"} & set(value)) != 1
    ):
        raise Invalid(f"files.{CONTEXT}: {SENT}.", field="files")
    if not all(isinstance(part, str) for part in value.values()):
        raise Invalid(f"files.{CONTEXT}: {SENT}.", field="files")
    name = value.get("name", "text.txt")
    if "text" in value:
        return name, value["text"].encode()
    try:
        return name, base64.b64decode(value["base64"], validate=True)
    except binascii.Error as error:
        raise Invalid(f"files.{CONTEXT}: {name} is no base64: {error}.", field="files") from None


def check_part(onto: Given, without: Given) -> None:
    """Refuse to take away texts that were never added: their state would be subtracted all the same."""
    left = Counter(onto.facts.get("texts", []))
    left.subtract(without.facts.get("texts", []))
    if any(count < 0 for count in left.values()):
        raise Invalid(
            "The adapter that shall be taken away knows texts that were never added. Take away only what was added.",
            field=WITHOUT,
            code="state.not_part",
        )


def _given(document: Document) -> Given:
    data = document.text.encode()
    entry = Entry(hashlib.sha256(data).hexdigest(), len(data))
    return Given(role=CONTEXT, name=document.name, entry=entry, facts=document.facts(), data=data)


def _state(actor: User, version: Version, role: str) -> Given:
    rows = access.companions(access.Viewer(user=actor), version.repository).filter(kind=STATE)
    row = rows.filter(name=f"{version.label}.safetensors").first()
    if row is None:
        raise Invalid(
            f"{version} keeps no state that you can see, so no text can be added to it or taken away. Generate it "
            "again with --keep-state.",
            field=role,
            code="generate.no_state",
        )
    return Given(role=STATE, name=role, entry=Entry(row.blob_id, row.blob.size), facts=row.facts)
