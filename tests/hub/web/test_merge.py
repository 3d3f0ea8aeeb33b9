"""The merge and evaluation pages: who fits, what is asked for, what is kept when it is refused, what is queued."""

import json
import re

import pytest
from django.test import Client

from hub.models import Job, Repository
from tests.hub import factories

pytestmark = pytest.mark.django_db


def signed_in(user) -> Client:
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def three(people, base) -> list:
    """`lab/a` and `lab/b` on the pico base, `lab/far` on another."""
    far = factories.make_base("pico/other")
    made = [factories.make_version(people.owner, n, namespace=people.lab, seed=i) for i, n in enumerate("ab")]
    other = factories.make_version(people.owner, "far", namespace=people.lab, base_name=None, base=far)
    return [*made, other]


def fill(client: Client, *names: str) -> None:
    for name in names:
        assert client.post("/merge/basket", {"toggle": name}).status_code == 302


def form(**changes) -> dict:
    sent = {"kind": "lego", "inputs": ["lab/a@v1", "lab/b@v1"], "namespace": "lab", "name": "ab", "rank": "4"}
    return sent | {"weights": ["1", "1"], "key": "k1", "visibility": ""} | changes


def test_what_does_not_fit_is_greyed_with_the_reason(client, three):
    fill(client, "lab/a", "lab/b", "lab/far")
    rows = client.get("/merge").context["rows"]
    assert [row["fits"] for row in rows] == [True, True, False]
    assert "pico/other" in rows[2]["reason"]
    text = client.get("/merge").content.decode()
    assert re.search(r'<tr class="unfit">.*?lab/far.*?pico/other', text, re.DOTALL)


def test_one_adapter_of_small_rank_is_no_misfit(client, people, base):
    factories.make_version(people.owner, "small", namespace=people.lab, rank=1)
    fill(client, "lab/small")
    for kind in ("lego", "svd", "cat", "average"):
        assert [row["reason"] for row in client.get(f"/merge?kind={kind}").context["rows"]] == [""]


def test_candidates_beside_the_first_say_why_they_can_not_join(client, three):
    fill(client, "lab/a")
    found = {str(row["version"]): row["reason"] for row in client.get("/merge").context["candidates"]}
    assert found["lab/b@v1"] == ""
    assert "pico/other" in found["lab/far@v1"]
    assert "lab/a@v1" not in found
    named = client.get("/merge?find=far").context["candidates"]
    assert [str(row["version"]) for row in named] == ["lab/far@v1"]


def test_the_form_is_drawn_from_the_recipe(client):
    text = client.get("/merge?kind=lego").content.decode()
    assert '<input id="field-rank" type="number" name="rank"' in text
    assert re.search(r'name="n_init" value="10"[^>]* min="1" max="100"', text)
    assert "<option selected>paper</option>" in text
    assert "https://arxiv.org/abs/2409.16167" in text
    assert 'name="n_init"' not in client.get("/merge?kind=svd").content.decode()
    assert client.get("/merge?kind=magic").status_code == 422
    assert client.get("/merge?kind=evaluate").status_code == 422


def test_changing_the_method_keeps_what_was_typed(client):
    text = client.get("/merge?kind=svd&rank=5&name=mine&n_init=3").content.decode()
    assert 'name="rank" value="5"' in text


def test_checking_tells_what_would_come_and_starts_nothing(people, three):
    member = signed_in(people.member)
    response = member.post("/merge", form(check="1"), headers={"HX-Request": "true"})
    text = response.content.decode()
    assert "This can start" in text
    assert re.search(r"<dt>Rank</dt><dd>4</dd>", text)
    assert "<html" not in text
    refused = member.post("/merge", form(check="1", inputs=["lab/a@v1", "lab/far@v1"])).content.decode()
    assert "Not yet" in refused
    assert "<html" in refused
    assert not Job.objects.exists()


def test_starting_queues_exactly_what_was_asked(people, three, django_capture_on_commit_callbacks):
    member = signed_in(people.member)
    fill(member, "lab/a", "lab/b")
    response = member.post("/merge", form(weights=["2", "0.5"], seed="7", profile="ctm"))
    job = Job.objects.get()
    assert response.headers["Location"] == f"/jobs/{job.pk}"
    assert (job.kind, job.output_path, job.created_by) == ("lego", "lab/ab", people.member)
    wanted = {"rank": 4, "seed": 7, "profile": "ctm", "weights": [2.0, 0.5], "n_init": 10}
    assert wanted.items() <= job.recipe.items()
    assert [str(row.version) for row in job.inputs.all()] == ["lab/a@v1", "lab/b@v1"]
    assert member.session["basket"] == []


def test_sending_the_form_twice_is_one_job(people, three):
    member = signed_in(people.member)
    addresses = {member.post("/merge", form()).headers["Location"] for _ in range(2)}
    assert len(addresses) == 1
    assert Job.objects.count() == 1


@pytest.mark.parametrize(
    ("changes", "field", "words"),
    [
        ({"rank": "0"}, "rank", "at least 1"),
        ({"rank": "many"}, "rank", "whole number"),
        ({"rank": "9999"}, "rank", "at most"),
        ({"profile": "best"}, "profile", "one of"),
        ({"weights": ["0", "0"]}, "weights", "Weights: "),
        ({"name": ""}, "output", "namespace/name"),
        ({"name": "x.v2"}, "name", "reserved"),
        ({"inputs": ["lab/a@v1", "lab/far@v1"]}, "inputs", "one base"),
    ],
)
def test_a_refused_form_says_where_and_keeps_what_was_typed(people, three, changes, field, words):
    response = signed_in(people.member).post("/merge", form(seed="77", **changes))
    text = response.content.decode()
    assert response.status_code == 422
    assert (response.context["refused"].field, words in text) == (field, True)
    assert 'name="seed" value="77"' in text
    assert not Job.objects.exists()


def test_nobody_merges_what_he_can_not_see_nor_where_he_may_not_write(people, three):
    Repository.objects.filter(name="a").update(visibility="private")
    assert signed_in(people.stranger).post("/merge", form()).status_code == 404
    assert signed_in(people.reader).post("/merge", form()).status_code == 403
    assert Client().post("/merge", form()).headers["Location"].startswith("/sign-in")
    assert not Job.objects.exists()


def test_a_job_runs_again_with_changes_from_its_recipe(people, three):
    member = signed_in(people.member)
    member.post("/merge", form(seed="7"))
    again = member.post(f"/jobs/{Job.objects.get().pk}/again").headers["Location"]
    response = member.get(again)
    assert [row["name"] for row in response.context["rows"]] == ["lab/a@v1", "lab/b@v1"]
    text = response.content.decode()
    assert 'name="seed" value="7"' in text
    assert 'name="rank" value="4"' in text


def test_a_job_of_before_there_were_layouts_runs_again_as_it_was(people, three):
    member = signed_in(people.member)
    member.post("/merge", form())
    job = Job.objects.get()
    old = {name: value for name, value in job.recipe.items() if name != "layout"}
    Job.objects.update(recipe={**old, "version": 1})
    opened = member.get(member.post(f"/jobs/{job.pk}/again").headers["Location"])
    assert opened.context["merging"].recipe["layout"] == "compact"


def test_the_json_beside_the_form_is_what_the_api_takes(people, three):
    member = signed_in(people.member)
    fill(member, "lab/a", "lab/b")
    shown = json.loads(member.get("/merge?rank=4&name=ab&namespace=lab").context["merging"].as_json())
    response = member.post("/api/v1/jobs", shown, content_type="application/json")
    assert response.status_code == 201, response.content


def test_evaluating_queues_one_adapter_on_one_dataset(people, three, base):
    data = factories.make_repository(people.owner, "sums", namespace=people.lab, kind="dataset")
    factories.publish(people.owner, data, factories.dataset_files(choices=True))
    member = signed_in(people.member)
    page = member.get("/jobs/evaluate?version=lab/a@v1").content.decode()
    assert "datasets/lab/sums v1 (test 4)" in page.replace("\n", "")
    sent = {"version": "lab/a@v1", "dataset": "lab/sums@v1", "metrics": ["nll", "choice"], "split": "test", "key": "e"}
    assert member.post("/jobs/evaluate", sent).status_code == 302
    job = Job.objects.get()
    assert job.recipe["metrics"] == ["nll", "choice"]
    inputs = {row.role: str(row.version) for row in job.inputs.all()}
    assert inputs == {"adapter": "lab/a@v1", "dataset": "datasets/lab/sums@v1"}
    refused = member.post("/jobs/evaluate", sent | {"split": "dev", "key": "f"})
    assert refused.status_code == 422
    assert refused.context["refused"].field == "split"


class TestMixtures:
    """The same page makes mixtures, with data beside the adapters."""

    @pytest.fixture
    def pair(self, people):
        base = factories.make_base()
        made = [factories.make_version(people.owner, n, base=base, seed=s) for n, s in (("one", 1), ("two", 2))]
        return [f"{version.repository.full_name}@v1" for version in made]

    @pytest.fixture
    def data(self, people):
        repository = factories.make_repository(people.owner, "rows", kind="dataset")
        return str(factories.publish(people.owner, repository, factories.dataset_files(rows=6)).version)

    def send(self, people, pair, **form):
        given = {"kind": "meteora", "inputs": pair, "namespace": "owner", "name": "mix", "split": "test"}
        return signed_in(people.owner).post("/merge", {**given, **form})

    def test_the_form_offers_datasets_beside_each_adapter(self, people, pair, data):
        page = signed_in(people.owner).get("/merge?kind=meteora").content.decode()
        assert "What is trained" in page
        assert "route tokens to adapters yet" in page

    def test_a_mixture_is_queued_with_data_in_the_adapters_order(self, people, pair, data):
        response = self.send(people, pair, datasets=[data, data])
        assert response.status_code == 302, response.content.decode()
        job = Job.objects.get()
        assert (job.kind, [str(row.version) for row in job.inputs.filter(role="dataset")]) == ("meteora", [data, data])

    def test_data_for_some_adapters_only_is_refused(self, people, pair, data):
        response = self.send(people, pair, datasets=["", data])
        assert response.status_code == 422
        assert "choose a dataset for each" in response.content.decode()
        assert not Job.objects.exists()

    def test_check_says_the_same(self, people, pair, data):
        assert "choose a dataset for each" in self.send(people, pair, datasets=["", data], check="1").content.decode()
        assert (
            "has no data" in self.send(people, pair, check="1").content.decode()
            or "learns its router" in self.send(people, pair, check="1").content.decode()
        )

    def test_a_prototype_needs_none(self, people, pair):
        assert self.send(people, pair, train="prototype").status_code == 302

    def test_a_mixed_text_is_one_or_more_datasets(self, people, pair, data):
        assert self.send(people, pair, kind="smora", datasets=[data]).status_code == 302


def test_quantised_relatives_fit_after_the_checkbox(people, base, three):
    small = factories.make_base("pico/llama-bnb-4bit", derived_from=base, relation="quantized")
    factories.make_version(people.owner, "small", namespace=people.lab, base_name=None, base=small)
    page = signed_in(people.member)
    fill(page, "lab/a", "lab/small")
    text = page.get("/merge").content.decode()
    assert re.search(r'<input[^>]*type="checkbox"[^>]*name="across_quantisations"', text)
    (row,) = [row for row in page.get("/merge").context["rows"] if not row["fits"]]
    assert "across_quantisations" in row["reason"]
    sent = form(inputs=["lab/a@v1", "lab/small@v1"])
    refused = page.post("/merge", sent)
    assert refused.status_code == 422
    assert "pico/llama-bnb-4bit" in refused.content.decode()
    done = page.post("/merge", sent | {"across_quantisations": "on", "key": "k2"})
    assert done.status_code == 302, done.content.decode()
    job = Job.objects.get()
    assert (job.base, job.recipe["across_quantisations"]) == (base, True)
    far = page.post("/merge", form(inputs=["lab/a@v1", "lab/far@v1"], across_quantisations="on", key="k3"))
    assert far.status_code == 422, "another base is no quantised relative"
