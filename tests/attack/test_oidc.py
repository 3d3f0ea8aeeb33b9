"""The way to the provider and back as an attacker would use it: other browsers' answers, old ones, forged ones."""

from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

import pytest
import requests

from hub.http import oidc_client
from hub.models import Event, User
from hub.services import outbox, tokens
from hub.services.signing_in import passwords, sessions
from tests.hub.factories import PASSWORD
from tests.hub.oidc.conftest import Browser, browser, issuer, provider  # noqa: F401

pytestmark = pytest.mark.django_db


def changed(path: str, **query: str) -> str:
    parts = urlsplit(path)
    return f"{parts.path}?{urlencode(dict(parse_qsl(parts.query)) | query)}"


def test_the_question_has_state_nonce_and_a_challenge(browser):  # noqa: F811
    first, second = (parse_qs(urlsplit(browser.leave()).query) for _ in range(2))
    for key in ("state", "nonce", "code_challenge"):
        assert first[key] != second[key]
    assert first["code_challenge_method"] == ["S256"]
    assert first["response_type"] == ["code"]


def test_another_browsers_answer_signs_nobody_in(browser):  # noqa: F811
    """A victim who is sent to the attacker's answer must not end up in the attacker's account."""
    answer = browser.allow(browser.leave(), "attacker")
    victim = Browser(browser.issuer)
    victim.leave()
    assert victim.http.get(answer).status_code in (302, 401)
    assert victim.name() is None


def test_another_browsers_answer_connects_nobody(browser, people):  # noqa: F811
    answer = browser.allow(browser.leave(), "attacker")
    victim = Browser(browser.issuer)
    victim.http.force_login(people.owner)
    victim.leave()
    victim.http.get(answer)
    assert not people.owner.identities.exists()


def test_signing_in_during_the_way_connects_nothing(browser, people):  # noqa: F811
    """Who began signed out and comes back signed in did not ask for a connection."""
    answer = browser.allow(browser.leave(), "somebody")
    browser.http.force_login(people.owner)
    browser.http.get(answer)
    assert not people.owner.identities.exists()


def test_a_stolen_session_connects_nobody(browser, people):  # noqa: F811
    """Without the password no way leads to the provider; a link that is opened does not either."""
    browser.http.force_login(people.owner)
    assert browser.http.get("/sign-in/oidc").headers["Location"] == "/account"
    answer = browser.http.post("/account/connections", {"password": "wrong"})
    assert answer.status_code == 422 and b"password is wrong" in answer.content
    assert browser.http.get("/sign-in/oidc").headers["Location"] == "/account"
    assert not people.owner.identities.exists()


def test_a_confirmed_way_ends_with_its_use_and_with_the_sessions(browser, people):  # noqa: F811
    browser.http.force_login(people.owner)
    browser.connect("mine")
    assert browser.http.get("/sign-in/oidc").headers["Location"] == "/account"
    browser.http.post("/account/connections", {"password": PASSWORD})
    answer = browser.allow(browser.leave(), "another")
    sessions.end_sessions(actor=people.owner, user=people.owner)
    browser.http.force_login(people.owner)
    browser.http.get(answer)
    assert [one.subject for one in people.owner.identities.all()] == ["mine"]


def test_connecting_vouches_for_nobody(browser, people):  # noqa: F811
    """Whoever the attacker is at the provider says nothing of the user whose session they hold."""
    browser.person("mira", preferred_username="mira")
    browser.come("mira")
    mira = User.objects.get(username="mira")
    browser.connect("attacker", password="")
    session = browser.http.session
    session["oidc_vouched"][2] -= 601
    session.save()
    assert browser.http.post("/account/connections", {}).status_code == 422
    browser.http.post("/account/password", {"new_password": "a new horse battery"})
    assert not User.objects.get(pk=mira.pk).has_usable_password()


def test_what_is_connected_is_told_by_mail(browser, people, settings, mailoutbox):  # noqa: F811
    settings.HUB_EMAIL_URL = "smtp://localhost"
    people.owner.email = "owner@works.example"
    people.owner.save()
    browser.http.force_login(people.owner)
    browser.connect("mine")
    passwords.set_password(actor=people.owner, user=people.owner, password="a new horse battery")
    outbox.drain()
    first, second = (mail.body for mail in mailoutbox)
    assert "signs you in as owner too" in first
    assert "disconnect what is not yours" in second


ACTS = {
    "password": {"new_password": "a new horse battery"},
    "email": {"email": "thief@works.example"},
    "second-factor": {},
    "deactivate": {},
    "delete": {},
}


@pytest.mark.parametrize("act", ACTS)
def test_one_persons_provider_vouches_for_nobody_elses_token(browser, people, act):  # noqa: F811
    """The session that travels along with a stolen token is the thief's own."""
    browser.person("victim", preferred_username="victim")
    browser.come("victim")
    victim = User.objects.get(username="victim")
    token = tokens.create_token(actor=victim, name="t", scopes=["read", "write", "admin"])[1]
    browser.http.logout()
    browser.come("thief")
    body = {"password": "x"} | ACTS[act]
    sent = {"content_type": "application/json", "headers": {"Authorization": f"Bearer {token}"}}
    answer = browser.http.post(f"/api/v1/account/{act}", body, **sent)
    assert (answer.status_code, answer.json()["code"]) == (403, "oidc.vouch")


def test_an_answer_counts_once(browser):  # noqa: F811
    answer = browser.allow(browser.leave(), "mira")
    browser.http.get(answer)
    assert browser.name()
    browser.http.logout()
    browser.http.get(answer)
    assert browser.name() is None


@pytest.mark.parametrize(
    "wrong", [{"state": "x"}, {"code": "x"}, {"code": ""}, {"state": ""}, {"error": "access_denied"}]
)
def test_a_forged_or_refused_answer_is_no_error_of_ours(browser, wrong):  # noqa: F811
    answer = changed(browser.allow(browser.leave(), "mira"), **wrong)
    assert browser.http.get(answer).status_code in (302, 401)
    assert browser.name() is None
    assert browser.http.get("/sign-in/oidc/back").status_code in (302, 401)


def test_a_token_for_another_question_is_refused(browser):  # noqa: F811
    """The provider answers with the nonce it was given; another one than ours ends here."""
    answer = browser.allow(browser.leave(), "mira", nonce="another")
    browser.http.get(answer)
    assert browser.name() is None


def test_a_token_signed_by_another_key_is_refused(browser, monkeypatch):  # noqa: F811
    from joserfc.jwk import KeySet, RSAKey

    stranger = KeySet([RSAKey.generate_key(2048, {"kid": "x", "use": "sig"})]).as_dict(private=False)
    monkeypatch.setattr(type(oidc_client._client()), "fetch_jwk_set", lambda *_, **__: stranger)
    browser.come("mira")
    assert browser.name() is None


def test_a_provider_that_is_away_says_so(browser, settings):  # noqa: F811
    from dataclasses import replace

    settings.OIDC = replace(settings.OIDC, issuer="http://localhost:9")
    oidc_client.forget()
    answer = browser.http.get("/sign-in/oidc")
    assert answer.status_code == 502 and b"can&#x27;t be reached" in answer.content


def test_afterwards_nobody_is_sent_elsewhere(browser):  # noqa: F811
    for where in ("https://evil.example/", "//evil.example/", "/\\evil.example"):
        answer = browser.http.get(browser.allow(browser.leave(f"/sign-in/oidc?{urlencode({'next': where})}"), "mira"))
        assert answer.headers["Location"] == "/"
        browser.http.logout()


def test_failed_ways_in_are_audited_without_a_name(browser, settings):  # noqa: F811
    from dataclasses import replace

    settings.OIDC = replace(settings.OIDC, allowed=frozenset({"staff"}))
    browser.person("40", preferred_username="mira", groups=["guests"])
    browser.come("40")
    event = Event.objects.get(verb="sign_in.failed")
    assert (event.object, event.detail["way"]) == ("(unknown name)", "oidc")
    assert not User.objects.filter(username="mira").exists()


def test_the_provider_itself_is_live(issuer):  # noqa: F811
    assert requests.get(f"{issuer}/.well-known/openid-configuration", timeout=30).json()["issuer"] == issuer
