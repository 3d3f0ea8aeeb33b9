"""Comparing merges on the merge page: who may ask, what one sees while it runs and after it, and who sees nothing."""

import re

import pytest
from django.test import Client

from hub.models import Job, Repository, State, Visibility
from tests.hub import asking, factories

pytestmark = pytest.mark.django_db
NOT_JUDGED = {"kind": "average", "label": "Rank-wise average", "rank": None, "bytes": 0, "reason": "Ranks <differ>."}


def report(names) -> dict:
    """What a worker answers of two adapters."""
    row = {"kind": "svd", "label": "Truncated SVD", "rank": 4, "bytes": 2000, "norm": 1.0, "judged_by": "cores"}
    row |= {"error_mean": 0.25, "error_sum": 0.6, "kept_inputs": [0.4, 0.8], "inside_inputs": [0.5, None]}
    row |= {"balance": 0.5, "seconds": 0.2}
    return {
        "rank": 4,
        "weights": None,
        "modules": 8,
        "judged": 3,
        "adapters": [{"name": name, "norm": 2.0, "rank": 4, "modules": 8} for name in names],
        "pairs": {key: [[1.0, 0.41], [0.41, 1.0]] for key in ("cosines", "row_overlap", "column_overlap", "aligned")},
        "spectrum": {"kept": [[1, 0.5], [4, 0.9], [8, 1.0]]},
        "clusters": {"inertia_ratio": 0.5, "seed_change": 0.1, "alone": 0.2},
        "methods": [row, NOT_JUDGED],
        "recommended": {
            "without_text": {"kind": "svd", "reason": "It is <near> the mean."},
            "with_text": {"kind": "svd", "reason": "It is <near> the mean."},
        },
        "sentences": [f"{names[0]} and {names[1]} point the same way (cosine 0.41)."],
    }


def with_angles(names) -> dict:
    """The same of a worker of today, which also tells angles and signs."""
    found = report(names)
    for name, value in (("row_angle", 21.4), ("row_chance", 74.6), ("column_angle", 80.0), ("column_chance", 75.0)):
        found["pairs"][name] = [[0.0, value], [value, 0.0]]
    found["pairs"] |= {"sign_conflict": [[0.0, 0.371], [0.371, 0.0]], "sign_error": [[0.0, 0.012], [0.012, 0.0]]}
    return found | {"looked_at": {"angles": 8, "signs": 5}}


@pytest.fixture
def pair(people, base):
    here = {"namespace": people.lab, "base": base}
    return [factories.make_version(people.owner, name, seed=n, **here) for n, name in enumerate(("one", "two"))]


def signed_in(user) -> Client:
    client = Client(raise_request_exception=False)
    client.force_login(user)
    return client


def form(pair) -> dict:
    return {"inputs": [str(version) for version in pair], "weights": ["1", "0.5"], "rank": "3", "kind": "lego"}


def done(user, pair) -> Job:
    job = asking.queue_job(actor=user, kind="compare-merges", inputs=pair)
    names = [str(version) for version in pair]
    Job.objects.filter(pk=job.pk).update(state=State.DONE, outcome=report(names), environment={})
    return Job.objects.get(pk=job.pk)


def test_angles_and_signs_of_pairs_stand_on_the_page_where_the_worker_told_them(people, pair):
    client, job = signed_in(people.stranger), done(people.stranger, pair)
    address = f"/merge/compare?job={job.pk}"
    assert "21° (75°)" not in client.get(address).content.decode()
    Job.objects.filter(pk=job.pk).update(outcome=with_angles([str(version) for version in pair]))
    page = client.get(address).content.decode()
    assert "21° (75°)" in page and "80° (75°)" in page and "37.1 % ± 1.2" in page
    assert "Angles are of 8 of 8 modules, signs of numbers drawn in 5." in page


def test_the_merge_page_offers_it_for_two_adapters_and_who_is_signed_in(people, pair):
    client = signed_in(people.stranger)
    assert "/merge/compare" not in client.get("/merge").content.decode()
    for version in pair:
        client.post("/merge/basket", {"toggle": version.repository.path})
    page = client.get("/merge").content.decode()
    assert 'formaction="/merge/compare"' in page and 'hx-post="/merge/compare"' in page


def test_asking_queues_a_comparison_with_the_pages_weights_and_rank(people, pair):
    client = signed_in(people.stranger)
    answer = client.post("/merge/compare", form(pair))
    job = Job.objects.get()
    assert (answer.status_code, answer.headers["Location"]) == (302, f"/merge/compare?job={job.pk}")
    assert (job.kind, job.recipe["rank"], job.recipe["weights"]) == ("compare-merges", 3, [1.0, 0.5])
    page = client.get(answer.headers["Location"]).content.decode()
    assert f'hx-get="/merge/compare?job={job.pk}"' in page and 'http-equiv="refresh"' in page


def test_what_is_wrong_is_said_on_the_page(people, pair):
    client = signed_in(people.stranger)
    answer = client.post("/merge/compare", form(pair) | {"weights": ["1", "0"]})
    assert answer.status_code == 422 and "Remove it from the inputs" in answer.content.decode()
    assert client.post("/merge/compare", form(pair[:1])).status_code == 422
    assert client.post("/merge/compare", form(pair) | {"rank": "many"}).status_code == 422
    assert client.post("/merge/compare", {}).status_code == 422
    assert not Job.objects.exists()


@pytest.mark.parametrize("place", ["compare", "job", "merge"])
def test_the_answer_stands_on_its_page_the_jobs_and_the_merge_page(people, pair, place):
    client, job = signed_in(people.stranger), done(people.stranger, pair)
    for version in pair:
        client.post("/merge/basket", {"toggle": version.repository.path})
    address = {"compare": f"/merge/compare?job={job.pk}", "job": f"/jobs/{job.pk}", "merge": "/merge"}[place]
    page = client.get(address).content.decode()
    assert "lab/one@v1 and lab/two@v1 point the same way (cosine 0.41)." in page
    assert "It is &lt;near&gt; the mean." in page and "Ranks &lt;differ&gt;." in page
    assert page.count("Try first") == 1 and "With a little text" not in page
    assert "on 3 of 8 modules" in page and 'aria-label="Rank 4 can hold 90% of the sum, rank 8 all of it"' in page
    assert len(re.findall(r'<rect class="heat-4"', page)) == 2
    assert 'hx-trigger="every 1s"' not in page


def test_a_method_is_chosen_by_the_merge_pages_form_and_elsewhere_by_a_link(people, pair):
    job, client = done(people.stranger, pair), signed_in(people.stranger)
    address, button = f"/merge/compare?job={job.pk}", 'form="merging" formnovalidate name="choose" value="svd"'
    alone = client.get(address).content.decode()
    asked = {"HTTP_HX_REQUEST": "true", "HTTP_HX_CURRENT_URL": "http://testserver/merge?kind=lego"}
    inside = client.get(address, **asked).content.decode()
    assert 'href="/merge?kind=svd"' in alone and button not in alone
    assert button in inside and 'href="/merge?kind=svd"' not in inside


def test_another_order_or_another_viewer_has_no_answer_yet(people, pair):
    done(people.stranger, pair)
    other, turned = signed_in(people.member), signed_in(people.stranger)
    for version in pair:
        other.post("/merge/basket", {"toggle": version.repository.path})
    for version in pair[::-1]:
        turned.post("/merge/basket", {"toggle": version.repository.path})
    for client in (other, turned):
        assert "point the same way" not in client.get("/merge").content.decode()


def test_others_jobs_and_other_kinds_are_not_there(people, pair, base):
    job = done(people.stranger, pair)
    assert signed_in(people.member).get(f"/merge/compare?job={job.pk}").status_code == 404
    trial = asking.queue_job(actor=people.stranger, kind="try", recipe={"prompt": "a"}, inputs=pair[:1])
    client = signed_in(people.stranger)
    assert client.get(f"/merge/compare?job={trial.pk}").status_code == 404
    assert client.get("/merge/compare?job=x").status_code == 404
    assert client.get("/merge/compare").headers["Location"] == "/merge"


def test_who_lost_sight_of_an_adapter_sees_no_figure(people, pair):
    job, client = done(people.stranger, pair), signed_in(people.stranger)
    Repository.objects.filter(pk=pair[1].repository_id).update(visibility=Visibility.PRIVATE)
    page = client.get(f"/merge/compare?job={job.pk}").content.decode()
    assert "There is no answer to show" in page and "cosine" not in page
    assert "cosine" not in client.get(f"/jobs/{job.pk}").content.decode()
    assert client.get(f"/api/v1/jobs/{job.pk}").json()["outcome"] is None
