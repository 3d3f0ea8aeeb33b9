"""Merges of the elementwise family, differences and federated rounds, from the row to a version and its page."""

import pytest

from composition.formats import read_adapter
from hub.models import State
from hub.services.content.manifest import manifest_of
from tests.composition.random_adapters import relative
from tests.hub import factories
from workers.cache import Cache

pytestmark = pytest.mark.django_db(transaction=True)


def read(version, tmp_path):
    return read_adapter(Cache(tmp_path / "read", 10**9).folder(manifest_of(version.revisions.get())))


@pytest.fixture
def twins(owner, base):
    """Two adapters of one rank."""
    return [factories.make_version(owner, f"twin{n}", base=base, rank=4, seed=n) for n in range(2)]


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("ties", {"density": 0.3, "rank": 2}),
        ("della", {"space": "factors"}),
        ("robust-merge", {}),
        ("slerp", {"t": 0.3}),
        ("orthogonal", {}),
    ],
)
def test_each_family_is_published_and_shown(queue, work, twins, client, owner, kind, fields):
    job = work(queue(kind, inputs=twins, **fields))
    assert (job.state, job.error) == (State.DONE, None)
    assert job.result.report["method"] == kind
    client.force_login(owner)
    page = client.get("/ada/merged/report/v1")
    assert page.status_code == 200
    assert job.result.recipe["kind"] == kind


def test_a_step_between_adapters_is_exact(queue, work, pair, tmp_path):
    made = read(work(queue("subtract", layout="compact")).result, tmp_path)
    one, two = (read(version, tmp_path) for version in pair)
    for module, factors in made.items():
        parts = [sign * given[module].delta() for sign, given in ((1, one), (-1, two)) if module in given]
        assert relative(factors.delta(), sum(parts)) < 1e-5


def test_a_round_keeps_who_contributed(queue, work, client, owner):
    version = work(queue("flora", samples=[100, 300], round=4)).result
    assert version.report["round"] == 4
    assert [row["share"] for row in version.report["contributors"]] == [0.25, 0.75]
    client.force_login(owner)
    shown = client.get("/ada/merged/report/v1").content.decode()
    assert "to round 4" in shown and "300" in shown


def test_a_round_of_unlike_factors_fails_with_the_way_out(queue, work, twins):
    job = work(queue("shared-factor", inputs=twins))
    assert job.state == State.FAILED
    assert job.error["code"] == "merge.no_shared_factor"
    assert "Use flora" in job.error["message"]
