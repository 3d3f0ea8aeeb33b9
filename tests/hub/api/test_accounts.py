"""Signing in, tokens and their scopes, organisations and roles over REST."""

from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from hub.models import Membership, Token
from hub.services import tokens
from tests.hub import factories
from tests.hub.api_client import Api, problem

pytestmark = pytest.mark.django_db


def sign_in(username="owner", password=factories.PASSWORD, **more):
    return Api().post("/sign-in", {"username": username, "password": password, **more})


def test_signing_in_gives_a_token_that_works(owner):
    answer = sign_in(name="laptop", scopes=["read"], expires_in_days=3)
    assert answer.status_code == 201
    made = answer.json()
    assert made["token"].startswith("ah_")
    assert made["scopes"] == ["read"]
    me = Api(secret=made["token"]).get("/me").json()
    assert me["username"] == "owner"
    assert me["token"]["name"] == "laptop"
    assert {(place["name"], place["role"]) for place in me["namespaces"]} == {("owner", "admin"), ("lab", "admin")}
    assert made["token"] not in str(list(Token.objects.values()))


@pytest.mark.parametrize(("username", "password"), [("owner", "wrong"), ("nobody", "wrong"), ("owner", "x" * 999)])
def test_wrong_passwords_are_answered_alike(owner, username, password):
    refused = problem(sign_in(username, password), 401, "sign_in.failed")
    assert refused["detail"] == "The user name or the password is wrong; check both."
    assert not Token.objects.exists()


def test_an_inactive_user_cannot_sign_in(owner):
    owner.is_active = False
    owner.save()
    problem(sign_in(), 401, "sign_in.failed")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"scopes": []}, "scopes"),
        ({"scopes": ["root"]}, "scopes.0"),
        ({"scopes": "read"}, "scopes"),
        ({"expires_in_days": 0}, "expires_in_days"),
        ({"expires_in_days": 366}, "expires_in_days"),
        ({"expires_in_days": "9"}, "expires_in_days"),
        ({"name": ""}, "name"),
        ({"name": "x" * 101}, "name"),
        ({"password": 5}, "password"),
        ({"otp": "1"}, "otp"),
    ],
)
def test_bad_sign_ins_name_the_field(owner, body, field):
    assert problem(sign_in(**body), 422, "invalid")["field"] == field


@pytest.mark.parametrize("header", ["Bearer ah_nothing", "Bearer " + "x" * 5000, "Bearer \u00e9"])
def test_unknown_tokens_are_401_even_where_nobody_may_look(owner, repository, header):
    refused = Api().get("/repositories/lab/sentiment", Authorization=header)
    problem(refused, 401, "token.invalid")
    assert refused.headers["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.parametrize("header", ["Basic b3duZXI6eA==", "Bearer", "Bearer a b", "ah_x"])
def test_other_authorisations_are_refused_not_ignored(owner, header):
    problem(Api().get("/repositories", Authorization=header), 401, "token.malformed")


def test_expired_and_revoked_tokens_are_401(owner):
    token, secret = tokens.create_token(actor=owner, name="t")
    api = Api(secret=secret)
    assert api.get("/me").status_code == 200
    Token.objects.filter(pk=token.pk).update(expires_at=timezone.now() - timedelta(seconds=1))
    problem(api.get("/me"), 401, "token.invalid")
    Token.objects.filter(pk=token.pk).update(expires_at=None)
    assert api.get("/me").status_code == 200
    tokens.revoke_token(actor=owner, token=token)
    problem(api.get("/me"), 401, "token.invalid")


def test_scopes_bound_what_a_token_does(owner, repository):
    """Each act, the scopes that may, and that the narrower ones may not."""
    acts = [
        ("GET", "/me", None, 0),
        ("POST", "/repositories", {"namespace": "lab", "name": "x", "kind": "adapter"}, 1),
        ("PATCH", "/repositories/lab/sentiment", {"description": "d"}, 1),
        ("PATCH", "/repositories/lab/sentiment", {"visibility": "private"}, 2),
        ("POST", "/tokens", {"name": "t"}, 2),
        ("PUT", "/organisations/lab/members/stranger", {"role": "reader"}, 2),
        ("DELETE", "/repositories/lab/sentiment", None, 2),
        ("POST", "/repositories/lab/sentiment/restore", None, 2),
    ]
    keys = [Api(owner, [scope]) for scope in ("read", "write", "admin")]
    for method, path, body, level in acts:
        for place, key in enumerate(keys):
            if place < level:
                problem(key(method, path, body), 403, "token_scope")
        assert keys[level](method, path, body).status_code in (200, 201, 204), (method, path)


def test_a_session_has_the_same_rules_and_needs_its_csrf_token(owner):
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(owner)
    answer = browser.get("/api/v1/me")
    assert answer.json()["token"] is None
    body = {"name": "x"}
    refused = browser.post("/api/v1/tokens", body, content_type="application/json")
    problem(refused, 403, "csrf")
    key = browser.cookies["csrftoken"].value
    made = browser.post("/api/v1/tokens", body, content_type="application/json", headers={"X-CSRFToken": key})
    assert made.status_code == 201


def test_programs_get_no_cookies(owner, repository):
    for api in (Api(), Api(owner)):
        assert not api.get("/repositories/lab/sentiment").cookies


def test_a_token_wins_over_a_session(owner, people):
    browser = Client()
    browser.force_login(owner)
    secret = tokens.create_token(actor=people.reader, name="t", scopes=["read"])[1]
    assert browser.get("/api/v1/me", headers={"Authorization": f"Bearer {secret}"}).json()["username"] == "reader"


def test_my_tokens_are_listed_and_ended(owner, people):
    api = Api(owner)
    made = api.post("/tokens", {"name": "ci", "scopes": ["read"]}).json()
    other = tokens.create_token(actor=people.reader, name="theirs")[0]
    listed = api.get("/tokens").json()["results"]
    assert [row["name"] for row in listed] == ["ci", "test"]
    assert "token" not in listed[0]
    problem(api.delete(f"/tokens/{other.pk}"), 404, "not_found")
    narrow = Api(secret=made["token"])
    problem(narrow.delete(f"/tokens/{listed[1]['id']}"), 403, "token_scope")
    assert narrow.delete(f"/tokens/{made['id']}").status_code == 204
    problem(narrow.get("/me"), 401, "token.invalid")


def test_organisations_and_roles(people):
    api = Api(people.stranger)
    made = api.post("/organisations", {"name": "guild", "display_name": "The guild"})
    assert made.json()["members"][0]["username"] == "stranger"
    problem(api.post("/organisations", {"name": "Guild"}), 409, "conflict")
    assert api.put("/organisations/guild/members/reader", {"role": "writer"}).json()["role"] == "writer"
    guild = api.get("/organisations/guild").json()
    assert {row["username"]: row["role"] for row in guild["members"]} == {"stranger": "admin", "reader": "writer"}
    problem(api.put("/organisations/guild/members/stranger", {"role": "reader"}), 409, "conflict")
    problem(api.delete("/organisations/guild/members/stranger"), 409, "conflict")
    problem(api.put("/organisations/guild/members/ghost", {"role": "reader"}), 404, "not_found")
    problem(api.put("/organisations/guild/members/reader", {"role": "king"}), 422, "invalid")
    problem(Api(people.owner).get("/organisations/guild"), 404, "not_found")
    problem(Api(people.reader).put("/organisations/guild/members/owner", {"role": "reader"}), 403, "permission_denied")
    assert Api(people.reader).delete("/organisations/guild/members/reader").status_code == 204
    assert not Membership.objects.filter(namespace__name="guild", user=people.reader).exists()
    assert [row["name"] for row in api.get("/organisations").json()["results"]] == ["guild"]
