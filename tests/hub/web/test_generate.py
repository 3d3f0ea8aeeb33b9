"""The page that makes adapters from texts: preview, check, start, refusals that lose nothing; generators' own pages."""

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from hub.models import Job
from hub.services.content import companions
from hub.services.content.manifest import Entry
from tests.hub import factories
from tests.hub.parsing.test_documents import pdf

pytestmark = pytest.mark.django_db
TEXT = "Pump two is red. " * 40


def signed_in(user) -> Client:
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def generator(people, base):
    return factories.make_generator(people.owner, base=base, namespace=people.lab)


@pytest.fixture
def form(generator):
    return {
        "base": "pico/llama",
        "namespace": "lab",
        "name": "doc",
        "window": "32",
        "text": TEXT,
        "visibility": "private",
    }


def text_of(response) -> str:
    return response.content.decode()


def test_without_a_generator_the_page_says_how_to_train_one(people, base):
    shown = text_of(signed_in(people.owner).get("/generate"))
    assert "hubctl generator train" in shown
    assert "pico/llama (no generator yet)" in shown


def test_the_page_offers_bases_with_their_generators(people, generator):
    shown = text_of(signed_in(people.owner).get("/generate"))
    assert '<option value="pico/llama" selected>' in shown
    assert "lab/gen@v1, rank 4, closes" not in shown  # It was pushed; no job measured it here.
    assert "lab/gen@v1, rank 4" in shown
    assert "sign in" in text_of(Client().get("/generate"))


def test_a_preview_shows_chunks_of_texts_and_pdfs(people, form):
    files = [SimpleUploadedFile("a.md", TEXT.encode()), SimpleUploadedFile("b.pdf", pdf("Blue harbour"))]
    sent = {**form, "files": files, "preview": "1"}
    shown = text_of(signed_in(people.owner).post("/generate", sent, headers={"HX-Request": "true"}))
    assert "<html" not in shown
    for told in ("a.md", "b.pdf", "1 pages", "pasted.txt", "Blue harbour", "Pump two is red.", "6 chunks"):
        assert told in shown, told
    assert not Job.objects.exists()


def test_a_check_says_what_would_come_of_it(people, form):
    shown = text_of(signed_in(people.owner).post("/generate", {**form, "check": "1"}, headers={"HX-Request": "true"}))
    assert "This can start" in shown
    assert "Written by lab/gen@v1" in shown
    assert "members only" in shown


def test_a_start_queues_the_job_once(people, form):
    client = signed_in(people.member)
    sent = {**form, "key": "k", "keep_state": "on"}
    assert client.post("/generate", sent).url == client.post("/generate", sent).url
    job = Job.objects.get()
    assert (job.kind, job.keep, job.output_path, job.recipe["window"]) == ("generate", ["state"], "lab/doc", 32)
    shown = text_of(client.get(f"/jobs/{job.pk}"))
    assert "lab/gen@v1" in shown and "pasted.txt" in shown
    assert "pasted.txt" not in text_of(signed_in(people.owner).get(f"/jobs/{job.pk}"))


def test_a_refusal_keeps_the_texts(people, form):
    sent = {**form, "name": "-bad-", "files": [SimpleUploadedFile("a.md", b"Kept words.")]}
    refused = signed_in(people.owner).post("/generate", sent)
    assert refused.status_code == 422
    shown = text_of(refused)
    assert "Kept from before" in shown and "\nKept words.</textarea>" in shown
    again = {**form, "text": "", "kept_name": ["a.md"], "kept_text": ["Kept words."]}
    assert signed_in(people.owner).post("/generate", again).status_code == 302
    assert Job.objects.get().files.get().facts["characters"] == 11


def test_a_bad_file_is_named_and_the_others_stay(people, form):
    files = [SimpleUploadedFile("a.md", b"Good."), SimpleUploadedFile("b.bin", b"a\0b")]
    refused = signed_in(people.owner).post("/generate", {**form, "text": "", "files": files})
    assert refused.status_code == 422
    assert "b.bin is a binary file" in text_of(refused)
    assert "<strong>a.md</strong>" in text_of(refused)
    assert signed_in(people.owner).post("/generate", {**form, "text": ""}).status_code == 422


def test_readers_and_strangers_may_not_write_into_a_namespace(people, form):
    for user in (people.reader, people.stranger):
        assert signed_in(user).post("/generate", form).status_code == 403
    assert Client().post("/generate", form).status_code == 302
    assert not Job.objects.exists()


def test_what_one_cannot_see_is_404(people, base):
    factories.make_generator(people.owner, "hush", base=base, namespace=people.lab, visibility="private")
    for who, status in ((people.reader, 200), (people.stranger, 404)):
        assert signed_in(who).get("/generate?generator=lab/hush@v1").status_code == status
        assert signed_in(who).get("/lab/hush").status_code == status
    assert "lab/hush" not in text_of(signed_in(people.stranger).get("/generate"))


def test_a_generators_page_shows_sizes_training_and_use(people, generator):
    shown = text_of(Client().get("/lab/gen"))
    for told in ("rank 4", "Gap closed, completion", "20 %", "hubctl generate --base pico/llama", "Loss over 2 steps"):
        assert told in shown, told
    listed = text_of(Client().get("/?kind=generator"))
    assert "lab/" in listed and "writes rank 4" in listed and "pico/llama" in listed


@pytest.mark.parametrize("training", [{}, {"curve": "no list"}, {"curve": [3, {"loss": "x"}], "recipe": 5, "data": []}])
def test_a_strange_training_record_breaks_no_page(people, base, training):
    factories.make_generator(people.owner, "odd", base=base, namespace=people.lab, training=training)
    assert "no record of its training" in text_of(Client().get("/lab/odd"))


def made_from_text(people, base, generator, **kept: bytes):
    """The public lab/doc@v1, made from a text; `kept` are private companions by kind."""
    documents = [{"sha256": "ab" * 32, "tokens": 900, "chunks": 2, "boundaries": [[0, 450], [450, 900]]}]
    report = {"method": "generate", "documents": documents, "states": {}, "summary": {"tokens": 900}}
    made = {"origin": "generated", "report": report, "recipe": {"kind": "generate"}, "parents": [generator]}
    repository = factories.make_repository(people.owner, "doc", namespace=people.lab)
    version = factories.publish(people.owner, repository, factories.adapter_files(), base=base, **made).version
    for kind, data in kept.items():
        entry = Entry(*factories.store({kind: data})[kind])
        name = "v1.safetensors" if kind == "state" else "v1/doc.md"
        companions.keep(actor=people.owner, repository=repository, kind=kind, files={name: entry}, facts={})
    return version


def test_a_generated_adapter_shows_what_it_was_made_from(people, base, generator):
    made_from_text(people, base, generator, state=b"state")
    for address in ("/lab/doc", "/lab/doc/report/v1"):
        shown = text_of(signed_in(people.member).get(address))
        for told in (
            "Made from",
            "abababababababab",
            "900",
            "/lab/gen/at/v1",
            "Add or remove a text",
            'href="/lab/doc/try',
        ):
            assert told in shown, (address, told)
    assert "remove a text" not in text_of(signed_in(people.stranger).get("/lab/doc"))
    onto = text_of(signed_in(people.member).get("/generate?onto=lab/doc@v1"))
    assert "is added to what" in onto and 'name="onto" value="lab/doc@v1"' in onto


def test_the_kept_text_is_offered_for_the_prompt_to_those_who_may_read_it(people, base, generator):
    made_from_text(people, base, generator, context="Pump <two> is räd.".encode())
    for user in (people.owner, people.member, people.reader):
        shown = text_of(signed_in(user).get("/lab/doc/try"))
        assert "Pump &lt;two&gt; is räd." in shown and "The text kept with v1" in shown
    for client in (signed_in(people.stranger), Client()):
        for address in ("/lab/doc/try", "/lab/doc/try/v1", "/lab/doc"):
            assert "Pump" not in text_of(client.get(address)), address
    assert "Paste the text this adapter was made from" in text_of(signed_in(people.stranger).get("/lab/doc/try"))
    sent = {"prompt": "Which pump?", "context": "\r\nPump two."}
    shown = text_of(signed_in(people.stranger).post("/lab/doc/try", sent, follow=True))
    assert 'id="text-text"' in shown and "the full text in the prompt: pico/llama" in shown
    assert Job.objects.get().recipe["context"] == "Pump two."


def test_a_kept_text_longer_than_the_base_reads_is_not_offered(people, base, generator):
    made_from_text(people, base, generator, context=b"Pump two. " * 40)
    shown = text_of(signed_in(people.member).get("/lab/doc/try"))
    assert "Pump two" not in shown
    assert "about 100 tokens; the base reads 64 tokens" in shown


def test_a_version_without_its_text_asks_for_it_alike(people, base, generator):
    made_from_text(people, base, generator)
    shown = text_of(signed_in(people.owner).get("/lab/doc/try"))
    assert "<details open><summary>The full text in the prompt" in shown
    assert "Paste the text this adapter was made from" in shown


def kept_state(people, base, generator, name: str, *texts: str, owner=None, by="lab/gen@v1"):
    """The version `name`@v1, generated, with a private state of these texts kept."""
    owner = owner or people.owner
    made = {"origin": "generated", "report": {"method": "generate"}, "recipe": {"kind": "generate"}}
    place = {"namespace": people.lab} if owner == people.owner else {}
    repository = factories.make_repository(owner, name, **place)
    files = factories.adapter_files(seed=len(name))
    version = factories.publish(owner, repository, files, base=base, parents=[generator], **made).version
    entry = Entry(*factories.store({"state": name.encode()})["state"])
    facts = {"tokens": 9, "generator": by, "texts": list(texts)}
    companions.keep(actor=owner, repository=repository, kind="state", files={"v1.safetensors": entry}, facts=facts)
    return version


def test_the_form_offers_to_take_away_what_was_added(people, base, generator, form):
    kept_state(people, base, generator, "both", "a", "b")
    kept_state(people, base, generator, "part", "a")
    kept_state(people, base, generator, "twice", "a", "a")
    kept_state(people, base, generator, "third", "c")
    kept_state(people, base, generator, "alien", "a", by="lab/other@v1")
    kept_state(people, base, generator, "hers", "b", owner=people.stranger)
    client = signed_in(people.member)
    shown = text_of(client.get("/generate?onto=lab/both@v1"))
    assert '<option value="lab/part@v1">what lab/part@v1 knows' in shown
    for name in ("lab/twice", "lab/third", "lab/alien", "stranger/hers", "what lab/both"):
        assert name not in shown, name
    assert "what lab/part" not in text_of(signed_in(people.stranger).get("/generate?onto=lab/both@v1"))
    sent = {**form, "text": "", "onto": "lab/both@v1", "without": "lab/part@v1"}
    assert client.post("/generate", sent).status_code == 302
    job = Job.objects.get()
    assert {row.role: str(row.version) for row in job.inputs.all()} == {
        "generator": "lab/gen@v1",
        "onto": "lab/both@v1",
        "without": "lab/part@v1",
    }
    refused = client.post("/generate", {**sent, "without": "lab/third@v1", "key": "k2"})
    assert refused.status_code == 422
    assert "texts that were never added" in text_of(refused)
    assert '<option value="lab/third@v1" selected>' in text_of(refused)


def test_a_stranger_takes_nothing_away_from_what_keeps_no_state_for_him(people, base, generator, form):
    kept_state(people, base, generator, "both", "a", "b")
    kept_state(people, base, generator, "part", "a")
    asked = {"namespace": "stranger", "text": "", "onto": "lab/both@v1", "without": "lab/part@v1"}
    refused = signed_in(people.stranger).post("/generate", form | asked)
    assert refused.status_code == 422
    assert "keeps no state that you can see" in text_of(refused)
    assert not Job.objects.exists()
