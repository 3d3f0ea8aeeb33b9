"""The merge page for methods that read text: a dataset and a weight beside each adapter, what is asked or refused."""

import pytest

from hub.models import Job
from tests.hub import factories
from tests.hub.web.test_merge import fill, form, signed_in

pytestmark = pytest.mark.django_db


@pytest.fixture
def pair(people, base):
    repository = factories.make_repository(people.owner, "sums", kind="dataset", namespace=people.lab)
    factories.publish(people.owner, repository, factories.dataset_files(rows=6, split="train"))
    return [factories.make_version(people.owner, n, namespace=people.lab, seed=i) for i, n in enumerate("ab")]


def test_a_dataset_and_a_weight_stand_beside_each_adapter(people, pair):
    client = signed_in(people.member)
    fill(client, "lab/a", "lab/b")
    page = client.get("/merge?kind=regmean").content.decode()
    assert page.count('<select name="datasets"') == 2 and page.count('name="weights"') == 2
    assert "datasets/lab/sums@v1" in page and "Start the merge" in page and "A mixture loads" not in page


def test_it_is_checked_and_started_with_its_data(people, pair, django_capture_on_commit_callbacks):
    client = signed_in(people.member)
    sent = form(kind="regmean", datasets=["datasets/lab/sums@v1"] * 2, rank="2")
    checked = client.post("/merge", sent | {"check": "1"}).content.decode()
    assert "This can start" in checked
    assert client.post("/merge", sent).status_code == 302
    job = Job.objects.get()
    assert (job.kind, job.inputs.filter(role="dataset").count()) == ("regmean", 2)


@pytest.mark.parametrize(
    ("datasets", "words"),
    [(["", ""], "a few dozen"), (["datasets/lab/sums@v1", ""], "a dataset for each adapter")],
)
def test_without_data_for_each_it_says_so_and_keeps_what_was_chosen(people, pair, datasets, words):
    client = signed_in(people.member)
    fill(client, "lab/a", "lab/b")
    answer = client.post("/merge", form(kind="regmean", datasets=datasets, rank="2"))
    assert answer.status_code in (400, 422) and words in answer.content.decode()
    assert answer.content.decode().count("selected>datasets/lab/sums@v1") == sum(map(bool, datasets))
    assert not Job.objects.exists()
