"""Nobody takes the place of bases that others registered: a repository of a base's id is served before the base."""

import pytest
from django.test import Client

from hub.errors import Conflict
from hub.models import BaseAlias, BaseModel, Namespace, User
from hub.services import accounts, leaving
from tests.hub import factories
from tests.hub.api_client import Api

pytestmark = pytest.mark.django_db
PASSWORD = factories.PASSWORD


def sign_up(name: str):
    return Client().post(
        "/api/v1/sign-up", {"username": name, "password": PASSWORD, "email": ""}, content_type="application/json"
    )


@pytest.fixture
def acme(people) -> BaseModel:
    """`acme/tiny`, which `owner` registered before a namespace of that name was there."""
    return factories.make_base("acme/tiny", created_by=people.owner)


@pytest.mark.parametrize("name", ["acme", "Acme"])
def test_a_stranger_can_t_have_the_name_by_any_door(acme, people, name):
    for refused in (Api(people.stranger).post("/organisations", {"name": name}), sign_up(name)):
        assert (refused.status_code, refused.json()["code"]) == (409, "namespace.of_bases"), refused.content
        assert "acme/tiny" in refused.json()["detail"] and refused.json()["field"] == "name"
    page = Client()
    page.force_login(people.stranger)
    said = page.post("/organisations", {"name": name})
    assert said.status_code == 409 and "acme/tiny" in said.content.decode()
    page = Client().post("/sign-up", {"username": name, "password": PASSWORD, "email": ""})
    assert "acme/tiny" in page.content.decode()
    with pytest.raises(Conflict):
        accounts.check_free(name)
    assert not Namespace.objects.filter(name__iexact=name).exists()
    assert not User.objects.filter(username__iexact=name).exists()


def test_its_owner_and_administrators_may(acme, people, root):
    assert accounts.create_organisation(actor=people.owner, name="acme")
    factories.make_base("globe/tiny", created_by=people.owner)
    assert accounts.create_organisation(actor=root, name="globe")


def test_one_base_of_another_is_enough_and_an_alias_too(acme, people):
    factories.make_base("acme/other", created_by=people.member)
    BaseAlias.objects.create(base=acme, name="mirror/tiny", folded="mirror/tiny")
    for name in ("acme", "mirror"):
        with pytest.raises(Conflict, match="acme/"):
            accounts.create_organisation(actor=people.member, name=name)


def test_what_only_begins_alike_is_free(acme, people):
    for name in ("ac", "acme2", "tiny"):
        assert accounts.create_organisation(actor=people.stranger, name=name)


def test_a_reserved_publisher_is_nobody_s_organisation(people, root, settings):
    settings.RESERVED_BASES = ["Qwen/"]
    with pytest.raises(Conflict, match="kept for base models"):
        accounts.create_organisation(actor=people.stranger, name="qwen")
    assert accounts.create_organisation(actor=root, name="Qwen")


def test_the_operator_makes_whatever_account_they_want(acme):
    assert accounts.create_user(username="acme", password=PASSWORD)


def test_the_name_of_who_left_stays_theirs_while_their_bases_are_there(people):
    factories.make_base("stranger/tiny", created_by=people.stranger)
    leaving.delete_user(actor=people.stranger, user=people.stranger)
    assert sign_up("stranger").json()["code"] == "namespace.of_bases"
    BaseModel.objects.get(name="stranger/tiny").delete()
    assert sign_up("stranger").status_code == 201
