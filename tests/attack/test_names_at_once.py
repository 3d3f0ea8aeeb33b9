"""Two at once who want one name: the first has it, the second is told, and nobody meets a fault of ours.

Run on whatever database the tests have; `tests/hub/test_postgres.py` runs this file again on PostgreSQL.
"""

import io
import json

import pytest
from django.db import IntegrityError
from django.test import Client

from hub.errors import Conflict, HubError, is_taken
from hub.models import Membership, Namespace, Ref, User
from hub.services import accounts, bases, refs
from hub.services.content import companions
from hub.services.signing_in import throttle
from tests.hub import factories
from tests.hub.api_client import Api
from tests.hub.test_parallel import at_once

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("store")]
PASSWORD = factories.PASSWORD


def statuses(*acts) -> list[int]:
    """The statuses of answers given at the same moment, sorted."""
    outcomes = at_once(*acts)
    assert not [outcome for outcome in outcomes if isinstance(outcome, Exception)], outcomes
    return sorted(outcome.status_code for outcome in outcomes)


@pytest.mark.parametrize("names", [("fresh", "fresh", "fresh"), ("Fresh", "fresh", "FRESH")])
def test_sign_ups_of_one_name(db, names):
    for number in range(3):
        tries = [f"{name}{number}" for name in names]
        acts = [lambda name=name: Api().post("/sign-up", {"username": name, "password": PASSWORD}) for name in tries]
        assert statuses(*acts) == [201, 409, 409]
        pages = [
            lambda name=name: Client().post("/sign-up", {"username": f"p{name}", "password": PASSWORD})
            for name in tries
        ]
        assert statuses(*pages) == [302, 409, 409]
    assert User.objects.count() == Namespace.objects.count() == Membership.objects.count() == 6


def test_every_spelling_of_a_name_that_finds_its_user_is_one_name_to_the_throttle(people):
    """PostgreSQL's UPPER makes one word of dotted and dotless i; what a name finds is what is counted."""
    user = User.objects.create_user("admin", password=PASSWORD)
    spellings = [name for name in ("admin", "ADMIN", "adm\u0131n") if User.objects.filter(username__iexact=name)]
    tries = [
        Api().post("/sign-in", {"username": spellings[n % len(spellings)], "password": "wrong horse"}).status_code
        for n in range(throttle.PAIR.free + 1)
    ]
    assert user and tries == [401] * throttle.PAIR.free + [429]


@pytest.mark.parametrize("names", [("guild", "guild"), ("Guild", "guild")])
def test_organisations_of_one_name_and_a_user_of_that_name(people, names):
    api = Api(people.owner)
    acts = [lambda name=name: api.post("/organisations", {"name": name}) for name in names]
    acts += [lambda: Api().post("/sign-up", {"username": "GUILD", "password": PASSWORD})]
    assert statuses(*acts) == [201, 409, 409]
    assert Namespace.objects.filter(name__iexact="guild").count() == 1


@pytest.mark.parametrize("names", [("new", "new", "new"), ("New", "new", "NEW")])
def test_repositories_of_one_name(people, names):
    body = {"namespace": "lab", "kind": "adapter"}
    apis = [Api(people.owner), Api(people.member), Api(people.owner)]
    acts = [
        lambda api=api, name=name: api.post("/repositories", body | {"name": name})
        for api, name in zip(apis, names, strict=True)
    ]
    assert statuses(*acts) == [201, 409, 409]


def test_whatever_else_has_one_name_is_made_once_and_is_never_our_fault(people, base, repository):
    """Every other unique key that a request can write: three at once; the row is there once."""
    revision = factories.publish(people.owner, repository, factories.adapter_files(), base=base).revision
    owner, stream, config = people.owner, b'{"prompt": "a", "completion": "b"}\n', factories.PICO_CONFIG
    mine, _ = bases.register_base(actor=owner, name="org/mine", config=config)
    acts = {
        "tag": lambda _: refs.set_tag(actor=owner, repository=repository, name="best", revision=revision),
        "member": lambda _: accounts.set_role(actor=owner, namespace=people.lab, user=people.stranger, role="reader"),
        "base": lambda n: bases.register_base(actor=owner, name=("org/new", "ORG/new", "org/NEW")[n], config=config),
        "alias": lambda _: bases.add_aliases(actor=owner, base=mine, aliases=["a/path"]),
        "companion": lambda _: companions.add_companion(
            actor=owner, repository=repository, kind="seeds", name="s.jsonl", stream=io.BytesIO(stream)
        ),
        "branch": lambda _: factories.publish(owner, repository, {"README.md": b"# New"}, branch="side"),
    }
    for name, act in acts.items():
        outcomes = at_once(*[lambda number=number, act=act: act(number) for number in range(3)])
        faults = [one for one in outcomes if isinstance(one, Exception) and not isinstance(one, HubError)]
        assert not faults, (name, faults)
        assert len([one for one in outcomes if isinstance(one, Exception)]) < 3, (name, outcomes)
    assert Ref.objects.filter(repository=repository, name__in=["best", "side"]).count() == 2
    assert Membership.objects.filter(user=people.stranger, namespace=people.lab).count() == 1


def test_a_unique_key_that_no_service_foresaw_is_a_conflict_at_both_doors(people, monkeypatch):
    """The net under all the rest: the database's own refusal, raised in a request; another constraint stays ours."""
    api, browser = Api(people.owner), Client(raise_request_exception=False)
    browser.force_login(people.owner)

    def twice(**_):
        Membership.objects.create(namespace=people.lab, user=people.owner, role="reader")

    def without_a_namespace(**_):
        Membership.objects.create(namespace=None, user=people.owner, role="reader")

    monkeypatch.setattr(accounts, "create_organisation", twice)
    answers = [api.post("/organisations", {"name": "x"}), browser.post("/organisations", {"name": "x"})]
    assert [answer.status_code for answer in answers] == [409, 409]
    assert json.loads(answers[0].content)["code"] == "conflict" and "try again" in answers[1].content.decode()
    monkeypatch.setattr(accounts, "create_organisation", without_a_namespace)
    assert api.post("/organisations", {"name": "x"}).status_code == 500
    assert not is_taken(Conflict("x")) and not is_taken(IntegrityError("NOT NULL constraint failed"))
