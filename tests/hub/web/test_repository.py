"""A repository's page: what each section shows, to whom, and how often the database is asked."""

import re

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from hub.models import Evaluation, Repository, Version
from hub.services import refs
from tests.hub import factories

pytestmark = pytest.mark.django_db
CARD = "---\nlicense: mit\n---\n# Sentiment\n\nReviews. <script>alert(1)</script>\n"


def signed_in(user) -> Client:
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def version(people, base) -> Version:
    """`lab/sentiment@v1`, public, with a card."""
    return factories.make_version(people.owner, namespace=people.lab, card=CARD, rank=4)


def merged(people, parents: list[Version], **options) -> Version:
    """`lab/merged@v1`, published as a LEGO merge of `parents`."""
    repository = factories.make_repository(people.owner, "merged", namespace=people.lab)
    sources = [[3, 1], [0, 2]]
    row = {"rank": 2, "norm": 1.5, "error_mean": 0.25, "error_sum": 0.5, "inertia_ratio": 0.1, "sources": sources}
    modules = {
        f"model.layers.0.self_attn.{name}": {**row, "norm": norm} for name, norm in (("q_proj", 1), ("v_proj", 2))
    }
    report = {
        "method": "lego",
        "rank": 2,
        "modules": modules,
        "summary": {"norm": 2.2},
        "warnings": ["Little to group."],
    }
    made = {"origin": "merged", "recipe": {"kind": "lego", "version": 1, "rank": 2}, "report": report}
    files = factories.adapter_files(rank=2, seed=9)
    return factories.publish(people.owner, repository, files, parents=parents, **made, **options).version


def test_the_page_tells_what_the_adapter_is(client, version):
    text = client.get("/lab/sentiment").content.decode()
    for shown in ("<h1>Sentiment</h1>", "pico/llama", "LoRA", "q_proj", "F32", "mit", "v1", "alert"):
        assert shown in text or shown == "alert"
    assert "<script>alert" not in text
    for snippet in ("hubctl pull lab/sentiment@v1", "PeftModel.from_pretrained", "curl", "vllm serve pico/llama"):
        assert snippet in text
    assert "export HF_ENDPOINT=http://testserver" in text and "--lora-modules sentiment=lab/sentiment.v1" in text
    assert 'href="/install"' in text


def test_an_older_version_says_so_and_keeps_its_own_facts(client, people, version):
    newer = factories.adapter_files(rank=8, seed=3)
    factories.publish(people.owner, version.repository, newer, message="Twice the rank")
    old = client.get("/lab/sentiment/at/v1")
    assert old.context["page"].facts.ranks == (4, 4)
    assert "The newest is" in old.content.decode()
    assert client.get("/lab/sentiment").context["page"].facts.ranks == (8, 8)
    assert client.get("/lab/sentiment/at/v3").status_code == 404
    history = client.get("/lab/sentiment/versions").content.decode()
    assert "Twice the rank" in history
    assert re.search(r"<dt>ranks</dt><dd><del>4, 4</del> → <ins>8, 8</ins>", history)


def test_files_are_listed_with_their_digests_and_come_as_they_were_sent(client, people, version):
    text = client.get("/lab/sentiment/files/latest").content.decode()
    for row in factories.promise(factories.adapter_files(card=CARD, rank=4)):
        assert row["sha256"] in text
        assert row["path"] in text
    response = client.get("/lab/sentiment/raw/v1/adapter_model.safetensors")
    sent = factories.adapter_files(rank=4)["adapter_model.safetensors"]
    assert b"".join(response.streaming_content) == sent
    assert response.headers["Content-Disposition"].startswith("attachment")
    assert Repository.objects.get(pk=version.repository_id).downloads == 1


def test_a_range_past_the_end_is_refused_on_pages_too(client, version):
    size = len(factories.adapter_files(rank=4)["adapter_model.safetensors"])
    refused = client.get("/lab/sentiment/raw/v1/adapter_model.safetensors", headers={"Range": "bytes=999999999-"})
    assert (refused.status_code, refused.headers["Content-Range"]) == (416, f"bytes */{size}")


def test_a_card_shows_the_pictures_of_its_repository(client, people, base):
    files = factories.adapter_files(card="![plot](plot.png)") | {"plot.png": b"\x89PNG\r\n\x1a\n" + b"0" * 40}
    repository = factories.make_repository(people.owner, namespace=people.lab)
    factories.publish(people.owner, repository, files)
    address = re.search(
        r'<article class="card">.*?<img src="([^"]+)"', client.get("/lab/sentiment").content.decode(), re.DOTALL
    )[1]
    assert client.get(address).headers["Content-Type"] == "image/png"


def test_an_empty_repository_says_what_to_do_to_those_who_can(people, repository):
    assert "hubctl push" in signed_in(people.member).get("/lab/sentiment").content.decode()
    assert "Come back" in signed_in(people.stranger).get("/lab/sentiment").content.decode()


def test_lineage_names_only_what_the_reader_may_see(people, version):
    private = factories.make_version(people.owner, "hush", namespace=people.lab, visibility="private", seed=5)
    child = merged(people, [version, private])
    Repository.objects.filter(pk=child.repository_id).update(visibility="public")
    outside = signed_in(people.stranger)
    for address in ("/lab/merged", "/lab/merged/report/v1", "/lab/sentiment"):
        inside_text = signed_in(people.reader).get(address).content.decode()
        text = outside.get(address).content.decode()
        assert "hush" not in text
        assert "hush" in inside_text or address == "/lab/sentiment"
    assert "an adapter you can&#x27;t see" in outside.get("/lab/merged/report/v1").content.decode()
    assert "lego · rank 2" in outside.get("/lab/sentiment").content.decode()


def test_the_report_shows_shares_errors_and_warnings(client, people, version):
    other = factories.make_version(people.owner, "other", namespace=people.lab, seed=2)
    merged(people, [version, other])
    response = client.get("/lab/merged/report/v1")
    text = response.content.decode()
    assert [row["share"] for row in response.context["shares"]] == [50.0, 50.0]
    for shown in ("lab/sentiment@v1", "lab/other@v1", "Little to group.", "0.25", "LoRA-LEGO"):
        assert shown in text
    assert "‖ΔW‖" in client.get("/lab/merged/modules/v1").content.decode()
    assert client.get("/lab/sentiment/report/v1").status_code == 404


def test_what_merges_refuse_says_why_and_offers_no_merge(client, people, base):
    plain = factories.adapter_tensors(rank=4)
    vectors = {
        name.replace("lora_A.weight", "lora_magnitude_vector"): factor
        for name, factor in plain.items()
        if "lora_A" in name
    }
    outputs = {"q_proj": 16, "v_proj": 8}
    vectors = {name: plain[next(iter(plain))][0, :1].repeat(outputs[name.split(".")[-2]]) for name in vectors}
    factories.make_version(
        people.owner, "dora", namespace=people.lab, tensors=plain | vectors, config={"use_dora": True}
    )
    text = client.get("/lab/dora").content.decode()
    assert "Merges refuse this adapter." in text
    assert "Merge with" not in text
    assert "vllm serve" not in text


def test_a_dataset_shows_its_first_rows(client, people):
    repository = factories.make_repository(people.owner, "sums", namespace=people.lab, kind="dataset")
    files = factories.dataset_files(30, choices=True) | factories.dataset_files(3, "train")
    factories.publish(people.owner, repository, files)
    response = client.get("/datasets/lab/sums")
    splits = {split["name"]: split for split in response.context["splits"]}
    assert splits["test"]["rows"] == 30
    assert splits["test"]["columns"] == ["prompt", "completion", "choices"]
    assert splits["test"]["sample"][0] == ["0 + 1 =", " 1", '[" 1", " 2"]']
    assert len(splits["test"]["sample"]) == 12
    assert splits["train"]["columns"] == ["prompt", "completion"]


def test_editing_the_card_is_a_new_revision_of_the_same_version(people, version):
    writer = signed_in(people.member)
    form = writer.get("/lab/sentiment/card")
    head = form.context["head"].oid
    assert "# Sentiment" in form.content.decode()
    sent = {"text": "# Better\r\n\r\nWords.", "head": head, "message": "Say it better"}
    assert writer.post("/lab/sentiment/card", sent).status_code == 302
    page = writer.get("/lab/sentiment")
    assert "<h1>Better</h1>" in page.content.decode()
    assert page.context["page"].version == version
    assert page.context["page"].head.oid != head
    late = writer.post("/lab/sentiment/card", sent | {"text": "# Lost?"})
    assert late.status_code == 409
    assert "# Lost?" in late.content.decode(), "what was typed stays"
    assert "<h1>Better</h1>" in writer.get("/lab/sentiment").content.decode()


def test_tags_move_and_go(people, version):
    writer = signed_in(people.member)
    writer.post("/lab/sentiment/tag", {"name": "stable", "ref": "v1"})
    assert writer.get("/lab/sentiment").context["page"].tags == ["stable"]
    assert writer.get("/lab/sentiment/at/stable").status_code == 200
    writer.post("/lab/sentiment/tag", {"name": "stable", "delete": "1"})
    assert writer.get("/lab/sentiment").context["page"].tags == []
    assert writer.post("/lab/sentiment/tag", {"name": "v9", "ref": "v1"}).status_code == 422


def test_deleting_hides_and_restoring_brings_back(people, version):
    admin = signed_in(people.owner)
    assert admin.post("/lab/sentiment/delete").headers["Location"] == "/trash"
    assert admin.get("/lab/sentiment").status_code == 404
    assert "lab/sentiment" in admin.get("/trash").content.decode()
    assert "lab/sentiment" not in signed_in(people.member).get("/trash").content.decode()
    admin.post("/trash/lab/sentiment")
    assert admin.get("/lab/sentiment").status_code == 200


def test_making_public_what_came_from_others_private_adapters_is_refused_on_the_page(people, version):
    stranger_parent = factories.make_version(people.stranger, "own", visibility="private", seed=8)
    child = merged(people, [version, stranger_parent])
    assert child.repository.full_name == "lab/merged"
    response = signed_in(people.owner).post("/lab/merged/settings", {"visibility": "public", "description": ""})
    assert response.status_code == 403
    assert "stranger/own" not in response.content.decode()
    Repository.objects.get(pk=child.repository_id, visibility="private")


def test_the_adapter_page_asks_the_database_a_fixed_number_of_times(people, version):
    client = Client()

    def asked() -> int:
        with CaptureQueriesContext(connection) as queries:
            assert client.get("/lab/sentiment").status_code == 200
        return len(queries)

    few = asked()
    dataset = factories.make_repository(people.owner, "sums", namespace=people.lab, kind="dataset")
    data = factories.publish(people.owner, dataset, factories.dataset_files()).version
    for index in range(6):
        refs.set_tag(
            actor=people.owner, repository=version.repository, name=f"t{index}", revision=version.revisions.get()
        )
        measured = {"metrics": {"nll": 1.0}, "rows": 4, "device": "cpu", "seconds": 1.0, "created_by": people.owner}
        Evaluation.objects.create(
            version=version,
            base=version.base,
            dataset=data,
            dataset_digest=data.content_digest,
            split="test",
            **measured,
        )
    merged(people, [version])
    assert asked() == few <= 12
