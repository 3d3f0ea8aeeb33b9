"""No answer about a job names what the asker may not see, whatever they ask for and wherever they put it."""

import json

import pytest

from hub.models import Origin, Parentage, Repository, Version, Visibility
from tests.hub import factories
from tests.hub.api_client import Api
from tests.hub.every_kind import ANYTHING, FINE, lab_once, shared_lab, swept  # noqa: F401

pytestmark = pytest.mark.django_db
HIDDEN = ("gen", "sums", "texts", "questions", "secret", "wide")


@pytest.fixture
def lab(shared_lab):  # noqa: F811
    """The lab, its adapters public, the rest private; `lab/doc` is public and was written by the hidden `lab/gen`."""
    people, base = shared_lab, shared_lab.base
    doc = factories.make_version(people.owner, "doc", base=base, namespace=people.lab, seed=9)
    Version.objects.filter(pk=doc.pk).update(origin=Origin.GENERATED)
    parent = Version.objects.get(repository__name="gen", repository__namespace=people.lab)
    Parentage.objects.create(child=doc, parent=parent)
    Repository.objects.filter(namespace=people.lab).update(visibility=Visibility.PUBLIC)
    Repository.objects.filter(namespace=people.lab, name__in=HIDDEN).update(visibility=Visibility.PRIVATE)
    factories.make_generator(people.stranger, base=base, seed=3)
    return people


@pytest.mark.parametrize("kind", FINE)
def test_a_stranger_reads_no_hidden_name(lab, kind):
    stranger = Api(lab.stranger)
    names = [*ANYTHING, "lab/doc", "stranger/gen"]
    fine = {**FINE[kind], "datasets": [], **({"output": "stranger/made"} if "output" in FINE[kind] else {})}
    bodies = [
        *swept(fine, names),
        {**fine, "onto": "lab/doc", "generator": "stranger/gen"},
        {**fine, "without": "lab/doc"},
    ]
    for body in bodies:
        for door in ("/jobs/check", "/jobs"):
            answer = stranger("POST", door, body)
            assert answer.status_code < 500, (body, answer.content)
            given = json.dumps(body)
            for name in (f"lab/{hidden}" for hidden in HIDDEN):
                assert name in given or name not in answer.content.decode(), (door, body, answer.content)
            if answer.status_code != 200 or answer.json()["problems"]:
                break  # A start refuses with the first of these: tests/hub/jobs/test_prepare.py.
