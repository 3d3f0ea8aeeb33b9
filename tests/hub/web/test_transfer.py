"""The transfer page, a transfer's job page and its report: what is offered, refused, kept, and whom it is shown to."""

import io
import json

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from hub.models import BaseModel, Companion, Job, JobFile
from hub.services.content import companions
from tests.hub import factories
from tests.hub.test_verdict import measure_all, moved  # noqa: F401 - a fixture

pytestmark = pytest.mark.django_db
SEEDS = "".join(json.dumps({"prompt": f"{n} + 1 =", "completion": str(n + 1)}) + "\n" for n in range(5))
URL = "/lab/sums/transfer"


def signed_in(user) -> Client:
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def sums(people, base):
    """`lab/sums` on `pico/llama`, which `pico/next` was further trained from."""
    BaseModel.objects.filter(pk=factories.make_base("pico/next").pk).update(derived_from=base, relation="finetune")
    return factories.make_version(people.owner, "sums", namespace=people.lab, base=base)


def form(**changes) -> dict:
    sent = {"kind": "trans-lora", "base": "pico/next", "namespace": "lab", "name": "moved", "key": "k1"}
    return sent | {"filter": "token-score", "seeds": SEEDS, "version": "v1"} | changes


def test_everybody_sees_the_ways_and_the_surest_first(client, sums):
    page = client.get(f"{URL}?base=pico/next")
    assert [way["method"].kind for way in page.context["ways"]][:2] == ["portllm", "cross-lora"]
    text = page.content.decode()
    assert "derived from pico/llama (finetune)" in text and "sign in" in text
    assert "pico/next (related)" in text


def test_an_address_fills_the_form_and_names_the_result(people, sums):
    context = signed_in(people.member).get(f"{URL}?base=pico/next&kind=portllm").context
    assert (context["moving"].name, context["is_shortcut"]) == ("sums-next", True)


def test_a_check_tells_time_memory_and_the_shorter_way(people, sums):
    client = signed_in(people.member)
    checked = client.post(URL, form(check="1"), headers={"HX-Request": "true"})
    text = checked.content.decode()
    assert "This can start" in text and "A shorter way" in text and "5 rows" in text
    refused = client.post(URL, form(check="1", seeds=""), headers={"HX-Request": "true"}).content.decode()
    assert "Not yet" in refused and "No seed examples" in refused
    assert not Job.objects.exists() and not JobFile.objects.exists()


def test_start_with_pasted_seeds_and_keep_them(people, sums):
    started = signed_in(people.member).post(URL, form(keep="on", samples="7"))
    assert started.status_code == 302
    job = Job.objects.get()
    assert (job.kind, job.recipe["samples"], str(job.base)) == ("trans-lora", 7, "pico/next")
    kept = Companion.objects.get()
    assert (kept.kind, kept.visibility, kept.blob) == ("seeds", "private", job.files.get().blob)
    # The same form sent twice is one job.
    signed_in(people.member).post(URL, form(samples="7"))
    assert Job.objects.count() == 1


def test_seeds_that_are_kept_replace_no_others(people, sums):
    """A colleague's file stays as it is, sending again keeps nothing twice, and equal seeds are kept once."""
    kept = {"repository": sums.repository, "kind": "seeds", "name": "seeds.jsonl"}
    theirs = io.BytesIO(SEEDS.replace("+", "plus").encode())
    companions.add_companion(actor=people.owner, stream=theirs, visibility="public", **kept)
    before = Companion.objects.values().get()
    for changes in ({}, {}, {"key": "k2", "name": "again"}):
        assert signed_in(people.member).post(URL, form(keep="on", **changes)).status_code == 302
    assert Companion.objects.values().get(name="seeds.jsonl") == before
    assert list(Companion.objects.order_by("name").values_list("name", "visibility")) == [
        ("seeds-2.jsonl", "private"),
        ("seeds.jsonl", "public"),
    ]
    assert Job.objects.count() == 2


def test_start_with_an_uploaded_file_or_with_those_that_are_kept(people, sums):
    file = SimpleUploadedFile("five.jsonl", SEEDS.encode())
    client = signed_in(people.member)
    assert client.post(URL, form(seeds="", seeds_file=file)).status_code == 302
    companions.add_companion(
        actor=people.owner, repository=sums.repository, kind="seeds", name="a.jsonl", stream=io.BytesIO(SEEDS.encode())
    )
    assert "a.jsonl (5 rows, private)" in client.get(URL).content.decode()
    assert client.post(URL, form(seeds="", seeds_kept="a.jsonl", name="two", key="k2")).status_code == 302
    assert len({file.digest for file in JobFile.objects.all()}) == 1
    assert "a.jsonl" not in Client().get(URL).content.decode()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"base": ""}, "Give the base"),
        ({"base": "pico/llama"}, "already"),
        ({"seeds": "{"}, "line 1"),
        ({"filter": "discriminator"}, "no discriminator"),
        ({"samples": "0"}, "at least 1"),
        ({"name": ""}, "say where it goes"),
        ({"kind": "loram"}, "index map"),
    ],
    ids=str,
)
def test_a_refused_form_keeps_what_was_typed(people, sums, changes, says):
    refused = signed_in(people.member).post(URL, form(**changes))
    assert refused.status_code == 422
    assert says in refused.content.decode()
    assert refused.context["moving"].texts["seeds"] == form(**changes)["seeds"]
    assert not Job.objects.exists()


def test_a_file_that_is_no_text_is_refused(people, sums):
    refused = signed_in(people.member).post(URL, form(seeds_file=SimpleUploadedFile("x.jsonl", b"\xff\xfe\x00")))
    assert (refused.status_code, "UTF-8" in refused.content.decode()) == (422, True)


def test_the_job_page_shows_stages_examples_and_files_to_its_owner_alone(people, sums):
    signed_in(people.member).post(URL, form())
    figures = {"stage": "filter", "kept": 3, "rejected": 5, "examples": ["7 + 1 ="], "rejected_examples": ["no <b>"]}
    Job.objects.update(state="running", figures=figures, recipe={**Job.objects.get().recipe, "items": 1})
    job = Job.objects.get()
    own = signed_in(people.member).get(f"/jobs/{job.pk}").content.decode()
    assert 'data-stage="distillation"' in own and "7 + 1 =" in own and "no &lt;b&gt;" in own
    assert "seeds, 5 rows" in own
    others = signed_in(people.reader).get(f"/jobs/{job.pk}").content.decode()
    assert "7 + 1 =" not in others and "no &lt;b&gt;" not in others
    assert "5 rows" not in others and job.files.get().digest not in others
    assert signed_in(people.stranger).get(f"/jobs/{job.pk}").status_code == 404


REPORT = {
    "method": "trans-lora",
    "synthesis": {"tries": 40, "seconds": 3.0},
    "filter": {"kept": 10, "rejected": 30, "discriminator": {"recall": 0.91}},
    "labelling": {"answered": 10, "class_sizes": [6, 4]},
    "distillation": {
        "steps": 4,
        "curve": [{"step": n, "loss": 2.0 / n} for n in range(1, 5)],
        "held_out": [{"epoch": 0, "loss": 3.0}, {"epoch": 2, "loss": 1.0}],
    },
    "files": [{"role": "seeds", "name": "seeds.jsonl", "sha256": "a" * 64}],
    "summary": {"samples": 10},
}


def test_the_report_tells_stages_loss_and_verdict(client, moved, people):  # noqa: F811
    moved.report = REPORT
    moved.save(update_fields=["report"])
    url = "/lab/new/report/v1"
    empty = client.get(url).content.decode()
    assert "It has not been measured yet" in empty and "91 %" in empty and "the largest first: 6, 4" in empty
    assert '<path d="M' in empty
    assert "a" * 16 not in empty
    assert "a" * 16 in signed_in(people.member).get(url).content.decode()
    measure_all(moved, 150, 20, 190)
    told = client.get(url).content.decode()
    assert "Lossless, and better" in told and "source adapter" in told and "+20.0" in told
    assert client.get(f"{url}?oracle=lab/none").status_code == 404


def test_invented_rows_are_for_members(client, moved, people):  # noqa: F811
    from hub.services.content.manifest import Entry

    ((_, entry),) = factories.store({"rows": SEEDS.encode()}).items()
    files = {"v1.jsonl": Entry(*entry)}
    companions.keep(actor=people.owner, repository=moved.repository, kind="synthetic", files=files, facts={"rows": 5})
    link = "/api/v1/repositories/lab/new/companions/synthetic/v1.jsonl"
    assert link not in client.get("/lab/new/report/v1").content.decode()
    assert client.get(link).status_code == 404
    member = signed_in(people.member)
    assert link in member.get("/lab/new/report/v1").content.decode()
    assert b"".join(member.get(link).streaming_content).decode() == SEEDS


def test_the_arms_are_measured_from_the_report(moved, people):  # noqa: F811
    client = signed_in(people.member)
    sent = client.post("/lab/new/measure/v1", {"dataset": str(moved.data)})
    assert (sent.status_code, Job.objects.filter(kind="evaluate").count()) == (302, 4)
    assert "4 evaluations are queued" in client.get(sent.headers["Location"]).content.decode()
    client.post("/lab/new/measure/v1", {"dataset": ""})
    assert Job.objects.filter(kind="evaluate").count() == 4


def test_settings_list_what_is_kept_and_let_it_go(people, sums):
    companions.add_companion(
        actor=people.owner, repository=sums.repository, kind="seeds", name="a.jsonl", stream=io.BytesIO(SEEDS.encode())
    )
    client = signed_in(people.owner)
    page = client.get("/lab/sums/settings").content.decode()
    assert "seeds/a.jsonl" in page and "5 rows" in page
    named = {"kind": "seeds", "name": "a.jsonl"}
    client.post("/lab/sums/companion", {**named, "act": "public"})
    assert Companion.objects.get().visibility == "public"
    assert client.post("/lab/sums/companion", {**named, "act": "shown"}).status_code == 422
    assert signed_in(people.reader).post("/lab/sums/companion", {**named, "act": "remove"}).status_code == 403
    signed_in(people.member).post("/lab/sums/companion", {**named, "act": "remove"})
    assert not Companion.objects.exists()
