"""Signing in and out, tokens shown once, organisations, the upload page."""

import re

import pytest
from django.test import Client

from hub.models import Membership, Token, User
from tests.hub import factories

pytestmark = pytest.mark.django_db


def signed_in(user) -> Client:
    client = Client()
    client.force_login(user)
    return client


def test_signing_in_leads_back_to_where_one_came_from(client, owner):
    asked = client.get("/jobs?state=done")
    assert asked.headers["Location"] == "/sign-in?next=/jobs%3Fstate%3Ddone"
    sent = {"username": "owner", "password": factories.PASSWORD, "next": "/jobs?state=done"}
    assert client.post("/sign-in", sent).headers["Location"] == "/jobs?state=done"


@pytest.mark.parametrize("back", ["https://evil.example/", "//evil.example", "/\\evil.example", "javascript:alert(1)"])
def test_signing_in_sends_nobody_elsewhere(client, owner, back):
    sent = {"username": "owner", "password": factories.PASSWORD, "next": back}
    assert client.post("/sign-in", sent).headers["Location"] == "/"


def test_a_wrong_password_and_an_unknown_name_answer_alike(client, owner):
    answers = []
    for name in ("owner", "nobody"):
        response = client.post("/sign-in", {"username": name, "password": "wrong"})
        assert response.status_code == 422
        answers.append(re.sub(r'(value|X-CSRFToken": )=?"[^"]*"', "", response.content.decode()))
    assert answers[0] == answers[1]


def test_signing_up_makes_a_namespace_and_signs_in(client, settings):
    response = client.post("/sign-up", {"username": "newcomer", "password": factories.PASSWORD})
    assert response.headers["Location"] == "/"
    assert client.get("/newcomer").status_code == 200
    assert "newcomer" in client.get("/").content.decode()
    client.post("/sign-out")
    assert "Sign in" in client.get("/").content.decode()
    settings.SIGN_UP_OPEN = False
    assert client.get("/sign-up").status_code == 403
    assert 'href="/sign-up"' not in client.get("/").content.decode()


@pytest.mark.parametrize(
    ("username", "password", "field"),
    [("admin", factories.PASSWORD, "name"), ("owner", factories.PASSWORD, "name"), ("fresh", "123", "password")],
)
def test_a_refused_sign_up_says_at_which_field(client, owner, username, password, field):
    response = client.post("/sign-up", {"username": username, "password": password})
    assert response.context["refused"].field == field
    assert response.context["refused"].message.split(".")[0] in response.content.decode().replace("&#x27;", "'")
    assert User.objects.filter(username=username).exists() == (username == "owner")


def test_a_token_is_shown_once_and_works_until_revoked(people):
    owner = signed_in(people.owner)
    made = owner.post("/tokens", {"name": "laptop", "scopes": ["read"], "expires_in_days": "30"})
    secret = re.search(r"ah_[\w-]{40}", made.content.decode())[0]
    assert made.headers["Cache-Control"] == "no-store"
    assert secret not in owner.get("/tokens").content.decode()
    program = {"Authorization": f"Bearer {secret}"}
    assert Client().get("/api/v1/me", headers=program).status_code == 200
    owner.post(f"/tokens/{Token.objects.get().pk}/revoke")
    assert Client().get("/api/v1/me", headers=program).status_code == 401


@pytest.mark.parametrize(
    "wrong",
    [{"scopes": []}, {"name": " "}, {"expires_in_days": "never"}, {"expires_in_days": "9999"}, {"scopes": ["root"]}],
)
def test_a_refused_token_says_why(people, wrong):
    sent = {"name": "x", "scopes": ["read"], "expires_in_days": "30"} | wrong
    response = signed_in(people.owner).post("/tokens", sent)
    assert response.status_code == 422
    assert response.context["refused"]
    assert not Token.objects.exists()


def test_organisations_are_made_and_their_roles_changed_by_admins(people):
    owner = signed_in(people.owner)
    assert owner.post("/organisations", {"name": "guild"}).headers["Location"] == "/guild"
    assert owner.post("/organisations", {"name": "guild"}).status_code == 409
    owner.post("/guild/-/members", {"username": "stranger", "role": "writer"})
    assert Membership.objects.get(namespace__name="guild", user=people.stranger).role == "writer"
    late = owner.post("/guild/-/members", {"username": "owner", "role": "reader"}, follow=True)
    assert "last admin" in late.content.decode()
    owner.post("/guild/-/members", {"username": "stranger", "remove": "1"})
    assert not Membership.objects.filter(namespace__name="guild", user=people.stranger).exists()


def test_members_are_named_to_members_only(people):
    assert "reader" in signed_in(people.member).get("/lab").content.decode()
    assert "Members" not in signed_in(people.stranger).get("/lab").content.decode()


def test_the_upload_page_offers_only_where_one_may_write(people, repository):
    assert signed_in(people.member).get("/upload").context["namespaces"] == ["lab", "member"]
    assert signed_in(people.reader).get("/upload").context["namespaces"] == ["reader"]
    assert "New version of lab/sentiment" in signed_in(people.member).get("/upload?to=lab/sentiment").content.decode()
