"""The verdict on a transfer: which measurements count, what is said, who sees which arm, what is measured anew."""

import pytest

from hub.access import ANONYMOUS, Viewer
from hub.errors import Invalid
from hub.models import Evaluation, Job, Origin, Repository
from hub.queries.verdict import verdict
from hub.services.verdict_arms import measure_arms
from tests.hub import factories

pytestmark = pytest.mark.django_db
ROWS = 200


@pytest.fixture
def moved(people, base):
    """`lab/new` on `pico/next`, moved from `lab/old` on `pico/llama`; and the dataset `lab/test`."""
    target = factories.make_base("pico/next")
    old = factories.make_version(people.owner, "old", namespace=people.lab, base=base)
    repository = factories.make_repository(people.owner, "new", namespace=people.lab)
    files = factories.adapter_files(seed=3, base_name="pico/next")
    made = {"origin": Origin.TRANSFERRED, "parents": [old], "base": target, "report": {"method": "trans-lora"}}
    version = factories.publish(people.owner, repository, files, **made).version
    dataset = factories.make_repository(people.owner, "test", namespace=people.lab, kind="dataset")
    version.data = factories.publish(people.owner, dataset, factories.dataset_files(ROWS)).version
    version.old = old
    return version


def measured(dataset, version=None, base=None, right=0, *, hits="", metric="exact_match", **recipe):
    """One evaluation with so many right of ROWS."""
    given = {"split": "test", "limit": None, "max_new_tokens": 16, **recipe}
    return Evaluation.objects.create(
        version=version,
        base=base or version.base,
        dataset=dataset,
        dataset_digest=dataset.content_digest,
        split=given["split"],
        metrics={metric: right / ROWS, "nll": 1.0},
        rows=ROWS,
        hits={metric: hits} if hits else {},
        recipe=given,
        device="cpu",
        seconds=1,
    )


def measure_all(moved, source, target, new):
    measured(moved.data, base=moved.old.base, right=0)
    measured(moved.data, moved.old, right=source)
    measured(moved.data, base=moved.base, right=target)
    measured(moved.data, moved, right=new)


@pytest.mark.parametrize(
    ("source", "target", "new", "state", "says"),
    [
        (150, 20, 190, "better", "Lossless, and better: 20.0 points above the source adapter (75.0 %)"),
        (150, 20, 152, "lossless", "Lossless: 1.0 points above the source adapter"),
        (150, 20, 150, "lossless", "Lossless: level with the source adapter"),
        (150, 20, 146, "open", "No proven loss: 2.0 points below the source adapter"),
        (150, 20, 90, "lossy", "It lost something: 30.0 points below the source adapter"),
        (100, 180, 120, "lossy", "It lost something: 30.0 points below the target base (90.0 %)"),
    ],
)
def test_it_is_judged_against_the_better_of_source_and_bare_target(moved, source, target, new, state, says):
    measure_all(moved, source, target, new)
    told = verdict(ANONYMOUS, moved)
    assert (told["state"], told["missing"]) == (state, [])
    assert told["sentence"].startswith(says)
    assert "95 % interval of the difference" in told["sentence"] and "200 rows" in told["sentence"]


def test_rows_that_were_kept_make_the_interval_narrow(moved):
    measured(moved.data, base=moved.base, right=0, hits="0" * ROWS)
    measured(moved.data, moved.old, right=150, hits="1" * 150 + "0" * 50)
    measured(moved.data, moved, right=140, hits="1" * 140 + "0" * 60)
    told = verdict(ANONYMOUS, moved)
    (gap,) = [row for row in told["differences"] if row["role"] == "source adapter"]
    assert gap["paired"] and gap["high"] - gap["low"] < 0.08
    # Unpaired, ten rows of two hundred would prove nothing.
    assert told["state"] == "lossy"


def test_only_measurements_alike_are_set_side_by_side(moved):
    measured(moved.data, moved.old, right=150)
    measured(moved.data, base=moved.base, right=0)
    measured(moved.data, moved, right=150, max_new_tokens=64)
    told = verdict(ANONYMOUS, moved)
    assert told["state"] == "unmeasured"
    assert told["missing"] == ["source base", "source adapter", "target base"]
    measured(moved.data, moved, right=100)
    assert verdict(ANONYMOUS, moved)["state"] == "lossy"


def test_likelihoods_alone_are_no_verdict(moved):
    for version, base in ((moved, None), (moved.old, None), (None, moved.base)):
        measured(moved.data, version, base, right=3, metric="other")
    told = verdict(ANONYMOUS, moved)
    assert told["state"] == "unmeasured"
    assert "exact_match or choice" in told["sentence"]


def test_the_oracle_is_the_ceiling(moved, people):
    measure_all(moved, 150, 0, 160)
    oracle = factories.make_version(people.owner, "real", namespace=people.lab, base=moved.base, base_name="pico/next")
    assert verdict(ANONYMOUS, moved, oracle=oracle)["missing"] == ["oracle"]
    measured(moved.data, oracle, right=180)
    assert "89 % of the oracle's 90.0 %" in verdict(ANONYMOUS, moved, oracle=oracle)["sentence"]


def test_a_hidden_parent_and_a_hidden_dataset_tell_nothing(moved, people):
    measure_all(moved, 150, 20, 190)
    Repository.objects.filter(pk=moved.old.repository_id).update(visibility="private")
    told = verdict(ANONYMOUS, moved)
    assert [arm["role"] for arm in told["arms"]] == ["target base", "transferred"]
    assert "lab/old" not in str(told)
    assert verdict(Viewer(user=people.reader), moved)["state"] == "better"
    Repository.objects.filter(pk=moved.data.repository_id).update(visibility="private")
    told = verdict(ANONYMOUS, moved)
    assert (told["state"], told["datasets"], told["arms"]) == ("unmeasured", [], [])


def test_what_is_missing_is_measured_once(moved, people):
    measured(moved.data, moved, right=100)
    measured(moved.data, moved.old, right=100)
    queued = measure_arms(actor=people.owner, version=moved, dataset=moved.data)
    asked = {(str(job.base), *(str(row.version) for row in job.inputs.filter(role="adapter"))) for job in queued}
    assert asked == {("pico/llama",), ("pico/next",)}
    with pytest.raises(Invalid, match="give a dataset"):
        measure_arms(actor=people.owner, version=moved, dataset=moved)
    assert Job.objects.filter(kind="evaluate").count() == 2
    assert measure_arms(actor=people.owner, version=moved, dataset=moved.data) == []
    again = measure_arms(actor=people.owner, version=moved, dataset=moved.data, recipe={"limit": 5})
    assert len(again) == 4
    assert {job.recipe["limit"] for job in again} == {5}
