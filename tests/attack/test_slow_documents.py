"""PDFs that take their time: they hold neither the threads of the pages nor the database's one lock."""

import base64
import threading

import pytest
from django.db import connection

from hub.services.jobs import texts
from hub.services.parsing import documents
from hub.services.parsing.gate import Gate
from tests.hub.api_client import Api
from tests.hub.parsing.test_documents import pdf


def body(base) -> dict:
    text = {"name": "a.pdf", "base64": base64.b64encode(pdf("words")).decode()}
    return {"kind": "generate", "base": str(base), "output": "owner/made", "files": {"context": [text]}}


@pytest.mark.django_db(transaction=True)
def test_a_pdf_is_read_before_the_transaction_begins(people, base, monkeypatch):
    inside = []

    def read(name, data, seconds):
        inside.append(connection.in_atomic_block)
        return {"pages": 1, "text": "words"}

    monkeypatch.setattr(documents, "_read_pdf", read)
    answer = Api(people.owner).post("/jobs", body(base))
    assert answer.status_code == 422  # There is no generator here; the text comes first.
    assert inside == [False]


@pytest.mark.django_db
@pytest.mark.parametrize("route", ["/jobs", "/jobs/check"])
def test_too_many_pdfs_at_once_are_told_to_come_back(people, base, monkeypatch, route):
    gate = Gate("reading PDFs", at_once=1, waiting=0, patience=5)
    monkeypatch.setattr(documents, "GATE", gate)
    with gate.passed():
        answer = Api(people.owner).post(route, body(base))
    assert (answer.status_code, answer["Retry-After"]) == (503, "5")
    assert answer.json()["code"] == "busy"
    assert Api(people.owner).post(route, body(base)).status_code != 503


def test_texts_are_read_once_and_refuse_every_time(monkeypatch):
    calls = []
    monkeypatch.setattr(texts, "read_documents", lambda given: calls.append(1) or [])
    assert texts.documents_of(texts.ReadTexts("a")) == texts.ReadTexts("a").get() == []
    assert len(calls) == 2
    monkeypatch.undo()
    refused = texts.ReadTexts({"name": "x"})
    for _ in range(2):
        with pytest.raises(texts.Invalid):
            texts.documents_of(refused)


def test_other_threads_pass_while_one_reads(monkeypatch):
    """Two at once, each in a process of its own: neither waits for the other."""
    both = threading.Barrier(2, timeout=60)

    def read(name, data, seconds):
        both.wait()
        return {"pages": 1, "text": "words"}

    monkeypatch.setattr(documents, "_read_pdf", read)
    found = []
    threads = [
        threading.Thread(target=lambda: found.extend(documents.read_documents([("a.pdf", pdf("a"))]))) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(90)
    assert [one.text for one in found] == ["words", "words"]
