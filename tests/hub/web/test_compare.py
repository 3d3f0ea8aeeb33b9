"""The compare page: a matrix of tasks and versions, each value beside one column, that a typo does not empty."""

import csv
import io
from math import sqrt

import pytest

from composition.intervals import paired_difference
from hub.models import Evaluation
from tests.hub import factories

pytestmark = pytest.mark.django_db
HITS = {
    ("a", "sums"): "1111111100",
    ("b", "sums"): "1111000000",
    ("a", "words"): "1010101010",
    ("b", "words"): "1010101011",
}


def make_dataset(people, name):
    """A dataset's version in `lab`."""
    repository = factories.make_repository(people.owner, name, namespace=people.lab, kind="dataset")
    return factories.publish(people.owner, repository, factories.dataset_files()).version


@pytest.fixture
def measured(people, base):
    """`lab/a` and `lab/b`, each measured on `lab/sums` and `lab/words`; the base on the first alone."""
    versions = {n: factories.make_version(people.owner, n, namespace=people.lab, seed=i) for i, n in enumerate("ab")}
    data = {name: make_dataset(people, name) for name in ("sums", "words")}

    def evaluate(version, dataset, hits):
        share = hits.count("1") / len(hits)
        Evaluation.objects.create(
            version=version,
            base=base,
            dataset=dataset,
            dataset_digest="0" * 64,
            split="test",
            metrics={"exact_match": share, "nll": 2 - share},
            rows=len(hits),
            hits={"exact_match": hits},
            device="cpu",
            seconds=1,
        )

    for (version, dataset), hits in HITS.items():
        evaluate(versions[version], data[dataset], hits)
    evaluate(None, data["sums"], "1000000000")
    return "/compare?version=lab/a@v1&version=lab/b@v1"


def test_a_row_is_a_task_and_a_column_a_version(client, measured):
    context = client.get(measured).context
    assert [line.name for line in context["lines"]] == ["datasets/lab/sums@v1", "datasets/lab/words@v1"]
    assert [column["name"] for column in context["columns"]] == ["pico/llama", "lab/a@v1", "lab/b@v1"]
    assert [[cell.value for cell in line.cells] for line in context["lines"]] == [[0.1, 0.8, 0.4], [None, 0.5, 0.6]]
    assert [cell.value for cell in context["mean"]] == [None, pytest.approx(0.65), pytest.approx(0.5)]
    assert context["mean"][0].note == "measured on 1 of 2"


def test_differences_are_paired_where_both_answered_the_same_rows(client, measured):
    context = client.get(f"{measured}&against=lab/b@v1").context
    changes = [line.cells[1].interval for line in context["lines"]]
    expected = [
        paired_difference([int(hit) for hit in HITS["a", name]], [int(hit) for hit in HITS["b", name]])
        for name in ("sums", "words")
    ]
    assert changes == expected
    mean = context["mean"][1].interval
    assert mean.value == pytest.approx((0.4 - 0.1) / 2)
    assert mean.value - mean.low == pytest.approx(sqrt(sum((one.value - one.low) ** 2 for one in expected)) / 2)
    assert mean.high - mean.value == pytest.approx(sqrt(sum((one.high - one.value) ** 2 for one in expected)) / 2)
    assert context["lines"][0].cells[2].change is None


def test_another_metric_has_its_own_best_and_differences_without_bounds(client, measured):
    context = client.get(f"{measured}&metric=nll&against=lab/b@v1").context
    first = context["lines"][0].cells
    assert [cell.best for cell in first] == [False, True, False]
    assert (first[1].interval, first[1].change) == (None, pytest.approx(1.2 - 1.6))


def test_a_name_that_is_not_there_is_told_and_empties_nothing(client, measured):
    answer = client.get(f"{measured}&version=lab/nobody&version=odd")
    assert answer.status_code == 200
    assert len(answer.context["lines"]) == 2
    assert [said.partition(":")[0] for said in answer.context["missing"]] == ["lab/nobody", "odd"]
    assert "lab/nobody" in answer.content.decode()


def test_what_one_may_not_see_reads_as_what_is_not_there(client, people, measured):
    hidden = factories.make_version(people.owner, "hidden", namespace=people.lab, visibility="private", seed=9)
    (told,) = client.get(f"{measured}&version=lab/hidden").context["missing"]
    (unknown,) = client.get(f"{measured}&version=lab/absent").context["missing"]
    assert told.replace("hidden", "absent") == unknown
    client.force_login(people.owner)
    assert hidden in client.get(f"{measured}&version=lab/hidden").context["versions"]


def test_adapters_are_found_by_words_and_added(client, people, measured):
    factories.make_version(people.owner, "third", namespace=people.lab, seed=5)
    found = client.get(f"{measured}&find=thi").context["offered"]
    assert [str(version) for version in found] == ["lab/third@v1"]
    assert client.get(f"{measured}&find=lab").context["offered"] == found
    assert client.get(measured).context["offered"] == []


def test_the_figures_are_had_as_csv(client, measured):
    answer = client.get(f"{measured}&against=lab/b@v1&format=csv")
    assert answer["Content-Type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(answer.content.decode())))
    assert len(rows) == 9
    row = next(row for row in rows if (row["dataset"], row["version"]) == ("datasets/lab/sums@v1", "lab/a@v1"))
    assert (row["exact_match"], row["rows"], row["paired"]) == ("0.8", "10", "True")
    assert float(row["low"]) < float(row["minus lab/b@v1"]) < float(row["high"])


def test_a_name_that_a_spreadsheet_would_run_is_written_as_text():
    from hub.web.pages.compare_table import _plain

    assert [_plain(value) for value in ("=1+1", "-x", "lab/a", -0.5, None)] == ["'=1+1", "'-x", "lab/a", -0.5, None]
