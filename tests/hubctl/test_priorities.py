"""A job's place among one's own, by the client."""

import pytest

from hub.models import Job
from tests.hub import factories

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def pair(ada, base):
    return [factories.make_version(ada, name, base=base, seed=seed) for seed, name in enumerate(("one", "two"))]


def test_it_is_given_with_a_job_and_changed_while_it_waits(hubctl, signed_in, pair):
    begun = hubctl(
        "merge", "lego", "ada/one", "ada/two", "--to", "ada/both", "--priority", "high", "--no-wait", "--json"
    )
    assert (begun.code, begun.json["priority"]) == (0, "high")
    plain = hubctl("run", "svd", "ada/one", "ada/two", "--to", "ada/other", "--json")
    assert plain.json["priority"] == "normal"
    said = hubctl("jobs", "priority", begun.json["id"], "low")
    assert (said.code, said.out.strip()) == (0, f"job {begun.json['id']} has priority low")
    assert Job.objects.get(pk=begun.json["id"]).get_priority_display() == "low"
    assert "low" in hubctl("jobs", "show", begun.json["id"]).out


def test_an_urgent_one_is_for_administrators(hubctl, signed_in, pair):
    refused = hubctl("merge", "lego", "ada/one", "ada/two", "--to", "ada/both", "--priority", "urgent", "--no-wait")
    assert refused.code and "Only administrators" in refused.err and not Job.objects.exists()
    checked = hubctl("merge", "lego", "ada/one", "ada/two", "--to", "ada/both", "--priority", "urgent", "--check")
    assert checked.code == 1 and "Only administrators" in checked.out
