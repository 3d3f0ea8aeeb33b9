"""Texts that a job reads, as a request sends them: strings, Markdown, PDFs; each under a name of its own."""

import base64
import binascii

from hub.errors import HubError, Invalid
from hub.models.companions import CONTEXT
from hub.services.jobs.files import Given, sent
from hub.services.parsing.documents import Document, read_documents

MOST_DOCUMENTS = 100
SENT = 'send {"name": "doc.md", "text": "…"} or {"name": "doc.pdf", "base64": "…"}, or a list of them'


class ReadTexts:
    """The documents in a request, read once; or what refuses them, for the step that asks for them."""

    def __init__(self, value: object) -> None:
        self._documents: list[Document] = []
        self._refusal: HubError | None = None
        try:
            self._documents = documents_of(value)
        except HubError as refusal:
            self._refusal = refusal

    def get(self) -> list[Document]:
        """The documents; raises what `documents_of` raised."""
        if self._refusal is not None:
            raise self._refusal
        return self._documents


def documents_of(value: object) -> list[Document]:
    """The documents in a request, each under a name of its own."""
    if isinstance(value, ReadTexts):
        return value.get()
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


def given_text(document: Document) -> Given:
    """A text as a job's file, stored nowhere yet."""
    return sent(CONTEXT, document.name, document.text.encode(), document.facts())


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
        raise Invalid(f"files.{CONTEXT}: {name} is not base64: {error}.", field="files") from None
