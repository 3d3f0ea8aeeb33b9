"""The seconds of a dry run: what the kind's formula gives, corrected by what jobs of that kind took on this hub."""

from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from hub import queries
from hub.models import Job, State
from hub.services.jobs.report import MOST_OFF, corrected
from tests.hub import asking, factories

pytestmark = pytest.mark.django_db


@given(st.floats(1 / 90, 90), st.lists(st.floats(1.0, 500.0), min_size=4, max_size=25), st.floats(1.0, 500.0))
def test_a_formula_that_is_always_off_alike_is_within_a_factor_of_three_after_four_jobs(off, before, here):
    known = [(expected, max(expected * off, 0.1)) for expected in before if expected * off >= 0.1]
    if len(known) < 4:
        return
    told = corrected(here, known)
    if here * off >= 1:
        assert 1 / 3 < told / (here * off) < 3


@given(st.integers(2, 8))
def test_one_odd_job_among_many_moves_nothing(count):
    assert corrected(10.0, [(5.0, 5.0)] * 2 * count + [(5.0, 5000.0)]) == 10.0


def test_nothing_known_is_nothing_corrected_and_a_first_job_counts_for_half():
    assert corrected(10.0, []) == 10.0
    assert corrected(None, [(1.0, 9.0)]) is None
    assert corrected(10.0, [(1.0, 9.0)]) == 30.0
    assert corrected(10.0, [(1.0, 1e9)] * 3) <= 10.0 * MOST_OFF
    assert corrected(10.0, [(0.0, 0.0)] * 3) == 10.0


@pytest.fixture
def pair(people, base):
    return [factories.make_version(people.owner, name, base=base, seed=n) for n, name in enumerate(("a", "b"))]


def done(job: Job, seconds: float, **changed) -> None:
    end = timezone.now()
    told = {"state": State.DONE, "attempt": 1, "started_at": end - timedelta(seconds=seconds), "finished_at": end}
    Job.objects.filter(pk=job.pk).update(**{**told, **changed})


def test_jobs_that_were_done_at_once_correct_the_next_of_their_kind_alone(people, pair):
    def seconds(kind: str) -> float:
        return asking.check_job(actor=people.owner, kind=kind, inputs=pair, output=("owner", "c"))["seconds"]

    def queued(kind: str) -> Job:
        return asking.queue_job(actor=people.owner, kind=kind, inputs=pair, output=("owner", "c"))

    formula = {kind: seconds(kind) for kind in ("svd", "cat")}
    for changed in ({"attempt": 2}, {"state": State.FAILED}, {"queue": "gpu"}, {"expected_seconds": None}):
        job = queued("svd")
        assert job.expected_seconds == formula["svd"]
        done(job, 500.0, **changed)
    assert seconds("svd") == formula["svd"]
    for _ in range(3):
        done(queued("svd"), 16 * formula["svd"])
    assert seconds("svd") == pytest.approx(8 * formula["svd"], rel=0.05), "16 to the power 3/4"
    assert seconds("cat") == formula["cat"]
    assert queued("svd").expected_seconds == formula["svd"], "the formula's, or corrections would correct themselves"


@pytest.mark.skipif(connection.vendor != "sqlite", reason="the words of the plan are SQLite's")
def test_what_jobs_took_is_found_by_its_index(people, pair):
    rows = Job.objects.filter(kind="svd", queue="cpu", state=State.DONE, expected_seconds__isnull=False)
    assert "job_took" in rows.order_by("-id")[:25].explain()
    assert queries.took("svd", "cpu") == []
