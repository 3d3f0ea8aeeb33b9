"""The page that trains generators: the data it offers, its check, its start, what is refused, and to whom."""

import pytest
from django.test import Client

from hub.models import Job
from tests.hub import factories
from tests.hub.web.test_generate import signed_in, text_of

pytestmark = pytest.mark.django_db


@pytest.fixture
def generator(people, base):
    return factories.make_generator(people.owner, base=base, namespace=people.lab)


@pytest.fixture
def corpus(people):
    repository = factories.make_repository(people.owner, "corpus", namespace=people.lab, kind="dataset")
    rows = b"".join(b'{"text": "Pump %d."}\n' % number for number in range(30))
    return factories.push(people.owner, repository, {"train.jsonl": rows}).version


@pytest.fixture
def training(corpus, base):
    return {"base": "pico/llama", "datasets": "lab/corpus@v1", "namespace": "lab", "name": "own", "windows": "8, 16"}


def test_the_training_form_offers_data_that_suit(people, corpus, generator):
    factories.push(
        people.owner,
        factories.make_repository(people.owner, "sums", namespace=people.lab, kind="dataset"),
        factories.dataset_files(),
    )
    shown = text_of(signed_in(people.owner).get("/generate/train?base=pico/llama"))
    assert "datasets/lab/corpus@v1 (train: 30 of text)" in shown and "lab/sums" not in shown
    assert 'value="64, 128, 256"' in shown
    assert "lab/gen@v1, of pico/llama" in shown
    further = text_of(signed_in(people.owner).get("/generate/train?start=lab/gen@v1"))
    assert '<option value="lab/gen@v1" selected>' in further
    assert 'href="/generate/train?start=lab/gen@v1"' in text_of(signed_in(people.owner).get("/lab/gen"))
    assert 'href="/generate/train?base=pico/llama"' in text_of(signed_in(people.owner).get("/bases/pico/llama"))


def test_a_training_is_checked_and_started_once(people, training):
    client = signed_in(people.member)
    check = text_of(client.post("/generate/train", {**training, "check": "1"}, headers={"HX-Request": "true"}))
    assert "This can start" in check and "<html" not in check
    assert (
        client.post("/generate/train", {**training, "key": "k"}).url
        == client.post("/generate/train", {**training, "key": "k"}).url
    )
    job = Job.objects.get()
    assert (job.kind, job.output_path, job.recipe["windows"]) == ("train-generator", "lab/own", [8.0, 16.0])
    assert [str(row.version) for row in job.inputs.filter(role="dataset")] == ["datasets/lab/corpus@v1"]


def test_a_refused_training_keeps_the_form(people, training):
    for change, said in (
        ({"windows": "a, 16"}, 'value="a, 16"'),
        ({"datasets": ""}, "Give datasets to learn from"),
        ({"stage": "questions"}, "no split of questions"),
        ({"steps": "0"}, "at least 1"),
    ):
        refused = signed_in(people.owner).post("/generate/train", training | change)
        assert refused.status_code == 422, change
        assert said in text_of(refused), change
    assert not Job.objects.exists()


def test_who_may_train_where(people, training):
    for user in (people.reader, people.stranger):
        assert signed_in(user).post("/generate/train", training).status_code == 403
    assert Client().post("/generate/train", training).status_code == 302
    people.lab.repositories.filter(name="corpus").update(visibility="private")
    assert signed_in(people.stranger).post("/generate/train", training).status_code == 404
    assert "lab/corpus" not in text_of(signed_in(people.stranger).get("/generate/train"))
    assert signed_in(people.member).post("/generate/train", training).status_code == 302
    assert Job.objects.get().output_visibility == "private"
