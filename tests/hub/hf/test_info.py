"""What is known of a repository, and lists of them: properties, filters, pages, who sees what, how many queries."""

import re
from datetime import UTC, datetime

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from hub import queries
from hub.access import ANONYMOUS
from hub.hf.shapes.repositories import EXPANDABLE
from hub.models import BaseAlias, Repository, fold
from hub.services import repositories
from tests.hub import factories
from tests.hub.hf.asking import Asker, refused

pytestmark = pytest.mark.django_db
CARD = """---
license: mit
language: [en, de]
datasets: lab/sums
pipeline_tag: text-generation
library_name: peft
tags: [lora, dates]
released: 2026-11-28
score: .nan
---
# Dates
"""


@pytest.fixture
def hub(people, base, store):
    return people


@pytest.fixture
def pushed(hub, repository):
    return factories.push(hub.owner, repository, factories.adapter_files(card=CARD))


def test_all_that_is_known_of_an_adapter(hub, repository, pushed):
    shown = Asker().json("/api/models/LAB/sentiment?blobs=true&securityStatus=true")
    assert shown["id"] == shown["modelId"] == "lab/sentiment"
    assert shown["sha"] == pushed.revision.oid
    assert (shown["author"], shown["private"], shown["gated"], shown["disabled"]) == ("lab", False, False, False)
    assert (shown["pipeline_tag"], shown["library_name"]) == ("text-generation", "peft")
    assert shown["cardData"]["released"] == "2026-11-28" and shown["cardData"]["score"] is None
    assert {"peft", "lora", "dates", "en", "de", "license:mit", "dataset:lab/sums", "text-generation"} <= set(
        shown["tags"]
    )
    assert {"base_model:adapter:pico/llama", "base_model:pico/llama"} <= set(shown["tags"])
    assert shown["baseModels"]["models"][0]["id"] == "pico/llama"
    assert shown["config"] == {"peft": {"base_model_name_or_path": "pico/llama", "task_type": "CAUSAL_LM"}}
    assert shown["safetensors"] == {"parameters": {"F32": 448}, "total": 448}
    sizes = {row["rfilename"]: row for row in shown["siblings"]}
    assert shown["usedStorage"] == sum(row["size"] for row in sizes.values())
    assert "lfs" not in sizes["README.md"]
    lfs = sizes["adapter_model.safetensors"]
    assert lfs["lfs"]["sha256"] == queries.file(pushed.revision, "adapter_model.safetensors").sha256
    assert lfs["lfs"]["pointerSize"] > 100 and len(lfs["blobId"]) == 40
    assert shown["securityRepoStatus"] == {"scansDone": True, "filesWithIssues": []}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", shown["createdAt"])


def test_each_revision_is_known_by_its_own_files(hub, repository, pushed):
    later = factories.push(hub.owner, repository, {"notes.txt": b"n"})
    ask = Asker()
    for name in (
        "main",
        later.revision.oid,
        later.revision.oid[:7],
        later.revision.oid[:8].upper(),
        "refs%2Fheads%2Fmain",
    ):
        assert ask.json(f"/api/models/lab/sentiment/revision/{name}")["sha"] == later.revision.oid, name
    for name in ("v1", "latest", "refs%2Ftags%2Fv1"):
        shown = ask.json(f"/api/models/lab/sentiment/revision/{name}")
        assert shown["sha"] == pushed.revision.oid
        assert "notes.txt" not in [row["rfilename"] for row in shown["siblings"]]
    refused(ask.get("/api/models/lab/sentiment/revision/nothing"), 404, "RevisionNotFound", "nothing")
    refused(ask.get("/api/models/lab/sentiment/revision/main/nothing"), 404, "RevisionNotFound", "Invalid rev id")


def test_a_version_is_a_repository_for_servers_that_know_none(hub, repository, pushed):
    factories.push(hub.owner, repository, {"notes.txt": b"n"})
    shown = Asker().json("/api/models/lab/sentiment.V1")
    assert (shown["id"], shown["sha"]) == ("lab/sentiment.v1", pushed.revision.oid)
    assert "notes.txt" not in [row["rfilename"] for row in shown["siblings"]]
    refused(Asker().get("/api/models/lab/sentiment.v9"), 404, "RevisionNotFound")
    answer = Asker(hub.owner)("PUT", "/api/models/lab/sentiment.v1/settings", {"gated": "auto"})
    refused(answer, 403, None, "versions never change")


def test_a_repository_without_commits_is_known(hub, repository):
    shown = Asker().json("/api/models/lab/sentiment")
    assert (shown["sha"], shown["siblings"], shown["cardData"], shown["safetensors"]) == (None, [], {}, None)


@pytest.mark.parametrize("type", EXPANDABLE)
def test_every_property_may_be_asked_for_by_itself(type, hub, repository, dataset, pushed):
    name = "sentiment" if type == "models" else "sums"
    for key in EXPANDABLE[type]:
        shown = Asker().json(f"/api/{type}/lab/{name}?expand={key}")
        assert set(shown) == {"_id", "id", key}
    answer = Asker().get(f"/api/{type}?expand=foo")
    refused(answer, 400, None, '"expand" must be one of')
    listed = set(re.findall(r'"([^"]+)"', answer.json()["error"].split("expected one of ", 1)[1]))
    assert listed == set(EXPANDABLE[type])


def test_children_are_counted_as_the_viewer_sees_them(hub, repository, pushed):
    for name, visibility in (("open", "public"), ("closed", "private")):
        child = factories.make_repository(hub.owner, name, visibility=visibility)
        factories.publish(hub.owner, child, factories.adapter_files(seed=len(name)), parents=[pushed.version])
    count = "/api/models/lab/sentiment?expand=childrenModelCount"
    assert Asker().json(count)["childrenModelCount"] == 1
    assert Asker(hub.owner).json(count)["childrenModelCount"] == 2


def ids(ask, query: str = "", type: str = "models") -> list[str]:
    return [row["id"] for row in ask.json(f"/api/{type}{query}")]


@pytest.fixture
def shelf(hub, base, pushed):
    """Beside lab/sentiment: a private one, a generator, an adapter of another base, a dataset."""
    factories.make_version(hub.owner, "secret", visibility="private", namespace=hub.lab, seed=2)
    factories.make_generator(hub.owner, "gen", namespace=hub.lab)
    factories.make_base("pico/other")
    factories.make_version(hub.owner, "other", base_name="pico/other", seed=3)
    sums = factories.make_repository(hub.owner, "sums", namespace=hub.lab, kind="dataset")
    card = {"README.md": b"---\nlanguage: en\nlicense: mit\ntask_categories: [question-answering]\n---\n"}
    factories.push(hub.owner, sums, factories.dataset_files() | card)


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("filter=base_model:adapter:pico/llama", ["lab/sentiment"]),
        ("filter=base_model:adapter:PICO/llama", ["lab/sentiment"]),
        ("filter=base_model:adapter:alias/llama", ["lab/sentiment"]),
        ("filter=base_model:pico/llama", ["lab/gen", "lab/sentiment"]),
        ("filter=peft", ["lab/sentiment", "owner/other"]),
        ("filter=lora&filter=license:mit", ["lab/sentiment"]),
        ("filter=lora,en", ["lab/sentiment"]),
        ("filter=generator", ["lab/gen"]),
        ("filter=dataset:lab/sums", ["lab/sentiment"]),
        ("pipeline_tag=text-generation", ["lab/sentiment"]),
        ("filter=text-generation", ["lab/sentiment"]),
        ("filter=peft&filter=generator", []),
        ("author=OWNER", ["owner/other"]),
        ("search=lab/sent", ["lab/sentiment"]),
        ("search=other", ["owner/other"]),
        ("gated=true", []),
        ("gated=false&author=lab", ["lab/gen", "lab/sentiment"]),
        ("search=nothing-of-this-name", []),
    ],
)
def test_a_list_is_narrowed(query, found, hub, base, shelf):
    BaseAlias.objects.create(base=base, name="alias/llama", folded=fold("alias/llama"))
    assert sorted(ids(Asker(), f"?{query}")) == found


def test_datasets_have_a_list_of_their_own_with_tags_by_key(hub, shelf):
    assert ids(Asker(), "?filter=language:en&filter=task_categories:question-answering", "datasets") == ["lab/sums"]
    assert {"language:en", "license:mit"} <= set(Asker().json("/api/datasets/lab/sums")["tags"])
    assert "lab/sums" not in ids(Asker(hub.owner))


def test_private_ones_are_listed_for_those_who_see_them(hub, shelf):
    assert "lab/secret" in ids(Asker(hub.reader))
    for ask in (Asker(), Asker(hub.stranger), Asker(hub.owner, repository="lab/sentiment")):
        assert "lab/secret" not in ids(ask)


def test_what_a_list_shows_as_tag_finds_it(hub, shelf):
    for row in Asker(hub.owner).json("/api/models") + Asker(hub.owner).json("/api/datasets"):
        type = "datasets" if row["id"] == "lab/sums" else "models"
        for tag in row["tags"]:
            assert row["id"] in ids(Asker(hub.owner), f"?filter={tag}", type), tag


@pytest.mark.parametrize(
    "sort", ["createdAt", "lastModified", "downloads", "likes", "trendingScore", "", "no-such-order"]
)
def test_pages_follow_each_other_whatever_the_order(sort, hub):
    for number in range(7):
        row = factories.make_repository(hub.owner, f"r{number}")
        then = datetime(2026, 1, 1 + number % 3, tzinfo=UTC)
        Repository.objects.filter(pk=row.pk).update(created_at=then, updated_at=then, downloads=number % 3)
    ask, seen, path = Asker(), [], f"/api/models?limit=3&sort={sort}"
    while path:
        answer = ask.get(path)
        seen += [row["id"] for row in answer.json()]
        link = re.fullmatch(r'<(http://testserver/api/models\?[^>]+)>; rel="next"', answer.headers.get("Link", "<>"))
        path = link and link[1].removeprefix("http://testserver")
        assert not path or "limit=3" in path
    assert sorted(seen) == [f"owner/r{number}" for number in range(7)]
    refused(ask.get("/api/models?limit=3&cursor=nonsense"), 422, None, "cursor")
    refused(ask.get("/api/models?limit=no"), 422, None, "limit")


def test_a_list_asks_as_many_questions_whatever_its_length(hub):
    counts = {}
    for number in range(6):
        version = factories.make_version(hub.owner, f"r{number}", seed=number)
        if number in (1, 5):
            for query in ("", "?full=true&cardData=true&config=true", "?expand=usedStorage&expand=childrenModelCount"):
                with CaptureQueriesContext(
                    connection,
                ) as asked:
                    assert len(Asker().json(f"/api/models{query}")) == number + 1
                counts.setdefault(query, set()).add(len(asked))
    assert version.number == 1
    assert {query: len(found) for query, found in counts.items()} == dict.fromkeys(counts, 1)
    assert [max(found) for found in counts.values()] == [3, 6, 5]


def test_a_broken_card_hides_nothing_else(hub, repository, pushed, monkeypatch):
    shown = Asker().json("/api/models?cardData=true")
    assert shown[0]["cardData"]["license"] == "mit"
    factories.push(hub.owner, repository, {"README.md": b"# no front matter\n"})
    repositories.update_repository(actor=hub.owner, repository=repository, description="x")
    assert Asker().json("/api/models/lab/sentiment")["cardData"] == {}
    assert not queries.tagged(queries.of_type(ANONYMOUS, datasets=False), "en").exists()
