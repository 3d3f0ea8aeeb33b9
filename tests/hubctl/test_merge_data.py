"""`hubctl merge … --data`: text for methods that read it, from the hub or from files here, and for no others."""

import json

import pytest

from hub.models import Job, Repository
from tests.hub import factories

pytestmark = pytest.mark.django_db(transaction=True)
NAMES = ("ada/one@v1", "ada/two")


@pytest.fixture
def pair(ada):
    base = factories.make_base()
    return [factories.make_version(ada, name, base=base, seed=seed) for name, seed in (("one", 1), ("two", 2))]


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"text": f"Pump {n}"}) + "\n" for n in range(6)))
    return path


def test_regmean_takes_a_text_for_each_adapter(hubctl, signed_in, pair, ada, file):
    repository = factories.make_repository(ada, "sums", kind="dataset")
    factories.publish(ada, repository, factories.dataset_files(rows=6, split="train"))
    given = ["--data", f"two={file}", "--data", "one=ada/sums", "--to", "ada/both", "--off-diagonal", "0.8", "--json"]
    queued = hubctl("merge", "regmean", *NAMES, *given)
    assert queued.code == 0, queued.err
    job = Job.objects.get(pk=queued.json["id"])
    data = [str(row.version) for row in job.inputs.filter(role="dataset")]
    assert data == ["datasets/ada/sums@v1", "datasets/ada/both-two-data@v1"]
    assert job.recipe["off_diagonal"] == 0.8 and job.output_visibility == "private"


def test_check_says_seconds_and_memory_and_what_is_missing(hubctl, signed_in, pair, file):
    to = ["--to", "ada/both", "--check"]
    checked = hubctl("merge", "regmean", *NAMES, "--data", f"one={file}", "--data", f"two={file}", *to)
    assert checked.code == 0 and "of memory" in checked.out, checked.err
    checked = hubctl("merge", "regmean", *NAMES, *to)
    assert checked.code == 1 and "a few dozen" in checked.out


def test_a_method_that_reads_none_is_not_given_any(hubctl, signed_in, pair, file):
    refused = hubctl("merge", "svd", *NAMES, "--data", f"one={file}", "--data", f"two={file}", "--to", "ada/both")
    assert refused.code != 0 and "reads no data" in refused.err
    assert not Repository.objects.filter(kind="dataset").exists()
