"""The way to the provider and back as an attacker would use it: other browsers' answers, old ones, forged ones."""

from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

import pytest
import requests

from hub.http import oidc_client
from hub.models import Event, User
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
