"""The pages of what a merge lost and of a search: figures, hidden names, one click to measure and one to merge."""

from urllib.parse import parse_qs, urlsplit

import pytest
from django.test import Client

from composition.judging.figures import Figures, Task
from composition.judging.loss import judge
from hub.models import Evaluation, Job, Origin, Repository, State, Visibility
from hub.services import repositories
from tests.hub import asking, factories

pytestmark = pytest.mark.django_db


@pytest.fixture
def lab(people, base):
    here = {"namespace": people.lab}
    people.pair = [factories.make_version(people.owner, n, base=base, seed=i, **here) for i, n in enumerate("ab")]
    place = factories.make_repository(people.owner, "ab", **here)
    made = {"origin": Origin.MERGED, "recipe": {"kind": "svd", "version": 3, "rank": 2}, "parents": people.pair}
    made["report"] = {"method": "svd", "summary": {}, "modules": {}, "warnings": []}
    people.merged = factories.publish(people.owner, place, factories.adapter_files(seed=9), base=base, **made).version
    data = factories.make_repository(people.owner, "sums", kind="dataset", **here)
    people.data = factories.publish(people.owner, data, factories.dataset_files()).version
    return people


def client_of(user) -> Client:
    client = Client()
    if user:
        client.force_login(user)
    return client


def measured(lab) -> Job:
    hits = {"base": "0000", "input-0": "1110", "input-1": "0001", "mean": "1000", "merge": "1100"}
    job = asking.queue_job(actor=lab.owner, kind="measure-merge", inputs=[lab.merged], datasets=[lab.data])
    told = judge({arm: Figures([Task(one)]) for arm, one in hits.items()}, 1)
    Job.objects.filter(pk=job.pk).update(state=State.DONE, outcome={"loss": told})
    return Job.objects.get(pk=job.pk)


def test_the_report_of_a_merge_says_what_it_lost_and_measures_by_one_click(lab):
    page = client_of(lab.owner).get("/lab/ab/report/v1").content.decode()
    assert "What did it lose?" in page and "Nobody has measured it" in page
    form = {"kind": "measure-merge", "inputs": "lab/ab@v1", "metrics": ["nll", "exact_match"], "datasets": "lab/sums"}
    started = client_of(lab.owner).post("/jobs/new", form)
    job = Job.objects.get()
    assert started.headers["Location"] == f"/jobs/{job.pk}"
    assert [row.version for row in job.inputs.filter(role="adapter")] == [lab.merged, *lab.pair]
    Job.objects.all().delete()
    measured(lab)
    page = client_of(lab.owner).get("/lab/ab/report/v1").content.decode()
    assert "50.0 % right against 75.0 %" in page and "<u>75.0 %</u>" in page and "exact mean" in page


def test_who_does_not_see_the_data_or_an_input_sees_no_figures(lab):
    job = measured(lab)
    for hidden in (lab.data, lab.pair[0]):
        Repository.objects.filter(pk=hidden.repository_id).update(visibility=Visibility.PRIVATE)
        page = client_of(lab.stranger).get("/lab/ab/report/v1").content.decode()
        assert "Nobody has measured it" in page and "right against" not in page
        answer = client_of(lab.stranger).get("/api/v1/repositories/lab/ab/versions/v1/loss").json()
        assert (answer["state"], answer["job"]) == ("unmeasured", None)
        Repository.objects.filter(pk=hidden.repository_id).update(visibility=Visibility.PUBLIC)
    told = client_of(lab.stranger).get("/api/v1/repositories/lab/ab/versions/v1/loss").json()
    assert told["job"] == job.pk
    assert {row["arm"]: row["name"] for row in told["arms"]} == {
        "base": "pico/llama",
        "input-0": "lab/a@v1",
        "input-1": "lab/b@v1",
        "mean": "exact mean",
        "merge": "lab/ab@v1",
    }


@pytest.mark.parametrize("make", ["measured", "searched"])
def test_who_lost_sight_of_the_data_is_answered_nothing(lab, make):
    job = {"measured": measured, "searched": searched}[make](lab)
    Job.objects.filter(pk=job.pk).update(created_by=lab.stranger)
    there, client = f"/api/v1/jobs/{job.pk}", client_of(lab.stranger)
    assert client.get(there).json()["outcome"]
    Repository.objects.filter(pk=lab.data.repository_id).update(visibility=Visibility.PRIVATE)
    assert client.get(there).json()["outcome"] is None
    page = client.get(f"/jobs/{job.pk}")
    assert page.status_code == 200 and "% right" not in page.content.decode()


def searched(lab, texts=()) -> Job:
    job = asking.queue_job(
        actor=lab.owner,
        kind="merge-search",
        recipe={"methods": "svd", "text_sets": len(texts)},
        inputs=lab.pair,
        datasets=[lab.data, *texts],
    )
    plain = {"quality": 0.5, "kept": 0.6, "nll": 1.0, "tasks": [{"share": 0.5, "rows": 4}], "rounds": 2, "made": 0.3}
    less = {"value": 0.1, "low": -0.1, "high": 0.3, "paired": True}
    recipe = {"kind": "svd", "version": 3, "rank": 2, "weights": [0.75, 0.25], "layout": "compact", "dtype": "float32"}
    recipe["across_quantisations"] = False
    arms = {arm: dict(plain) for arm in ("base", "input-0", "input-1", "mean")}
    for n, rank in enumerate((2, 4)):
        mine = {"label": f"svd rank {rank}", "rank": rank, "recipe": {**recipe, "rank": rank}}
        arms[str(n)] = {**plain, **mine, "front": n == 0, "less": less}
    arms["2"] = {**plain, "label": "svd out", "rank": 2, "recipe": recipe, "rounds": 1, "nll": None}
    told = {"rounds": [2, 4], "best": "0", "own": 0.8, "arms": arms, "splits": ["test"], "metric": "exact_match"}
    Job.objects.filter(pk=job.pk).update(state=State.DONE, outcome={"search": told})
    return Job.objects.get(pk=job.pk)


def test_a_search_shows_its_table_and_front_and_a_candidate_is_merged_by_one_click(lab):
    job, client = searched(lab), client_of(lab.owner)
    page = client.get(f"/jobs/{job.pk}").content.decode()
    assert "<strong>svd rank 2</strong>: 50.0 % right" in page
    assert page.count("<circle") == 2 and "out after round 1" in page and "flatter the best" in page
    to = client.post(f"/jobs/{job.pk}/again", {"candidate": "0"}).headers["Location"]
    assert parse_qs(urlsplit(to).query)["weights"] == ["0.75", "0.25"]
    form = client.get(to).context["merging"]
    assert (form.method.kind, form.recipe["rank"], form.recipe["weights"]) == ("svd", 2, [0.75, 0.25])
    assert form.recipe["layout"] == "compact"
    assert form.versions == lab.pair
    for wrong in ("base", "9", "x" * 300, ""):
        assert client.post(f"/jobs/{job.pk}/again", {"candidate": wrong}).status_code in (400, 422)


def test_a_search_with_datasets_of_text_is_shown_with_what_it_was_measured_on(lab):
    texts = []
    for name in ("one", "two"):
        place = factories.make_repository(lab.owner, f"{name}-text", kind="dataset", namespace=lab.lab)
        texts.append(factories.publish(lab.owner, place, factories.dataset_files(rows=5)).version)
    job = searched(lab, texts)
    told = job.outcome["search"] | {"splits": ["validation"]}
    Job.objects.filter(pk=job.pk).update(outcome={"search": told})
    answer = client_of(lab.owner).get(f"/jobs/{job.pk}")
    assert answer.status_code == 200 and f"searched on {lab.data} validation." in answer.content.decode()


def test_a_candidate_that_read_text_is_merged_with_that_text_by_who_sees_it(lab):
    job = searched(lab)
    told = job.outcome["search"]
    recipe = {"kind": "regmean", "version": 1, "rank": 2, "split": "train", "rows": 9, "scale": 1.2}
    told["arms"]["0"] |= {"label": "regmean rank 2 scale 1.2", "recipe": recipe, "reads": [0, 0]}
    Job.objects.filter(pk=job.pk).update(outcome={"search": told}, created_by=lab.stranger)
    older = str(lab.data)
    factories.publish(lab.owner, lab.data.repository, factories.dataset_files(rows=9))
    client = client_of(lab.stranger)
    to = client.post(f"/jobs/{job.pk}/again", {"candidate": "0"}).headers["Location"]
    asked = parse_qs(urlsplit(to).query)
    assert asked["datasets"] == [older, older] and asked["scale"] == ["1.2"]
    page = client.get(to).content.decode()
    assert page.count(f"<option selected>{older}</option>") == 2, "also a version that is not the newest"
    Repository.objects.filter(pk=lab.data.repository_id).update(visibility=Visibility.PRIVATE)
    refused = client.post(f"/jobs/{job.pk}/again", {"candidate": "0"})
    assert refused.status_code in (400, 422) and "sums" not in refused.content.decode()
    assert older not in client.get(to).content.decode().replace(f"datasets={older}", "")


def test_the_dry_run_says_which_version_the_result_becomes(lab):
    asked = {"actor": lab.owner, "kind": "svd", "recipe": {"rank": 2}, "inputs": lab.pair}
    assert asking.check_job(**asked, output=("lab", "ab"))["becomes"] == {"name": "lab/ab@v2", "new": False}
    assert asking.check_job(**asked, output=("LAB", "new"))["becomes"] == {"name": "lab/new@v1", "new": True}
    assert asking.check_job(**asked, output=("stranger", "new"))["becomes"] is None
    assert (
        asking.check_job(actor=lab.owner, kind="evaluate", inputs=[lab.pair[0]], datasets=[lab.data])["becomes"] is None
    )
    form = {
        "kind": "svd",
        "inputs": ["lab/a@v1", "lab/b@v1"],
        "rank": "2",
        "namespace": "lab",
        "name": "ab",
        "check": "1",
    }
    page = client_of(lab.owner).post("/merge", form).content.decode()
    assert "<strong>lab/ab@v2</strong>, the next version of a repository that is there" in page


def test_gated_inputs_and_data_are_left_out_for_who_is_not_let_in(lab):
    asked = {"kind": "measure-merge", "inputs": [lab.merged]}
    asking.queue_job(actor=lab.owner, datasets=[lab.data], **asked)
    repositories.update_repository(actor=lab.owner, repository=lab.pair[0].repository, gate="manual")
    job = asking.queue_job(actor=lab.stranger, datasets=[lab.data], **asked)
    assert [row.version for row in job.inputs.filter(role="adapter")] == [lab.merged, lab.pair[1]]
    assert "exact mean are left out" in asking.check_job(actor=lab.stranger, datasets=[lab.data], **asked)["notes"][1]
    measured = {"split": "test", "metrics": {}, "rows": 1, "device": "cpu", "seconds": 1.0}
    Evaluation.objects.create(version=lab.pair[1], base=lab.pair[1].base, dataset=lab.data, **measured)
    assert asking.check_job(actor=lab.stranger, **asked)["ok"]
    repositories.update_repository(actor=lab.owner, repository=lab.data.repository, gate="manual")
    assert "name the datasets" in asking.check_job(actor=lab.stranger, **asked)["problems"][0]["message"]
