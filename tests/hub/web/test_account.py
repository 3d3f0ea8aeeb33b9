"""The account page: what it shows, and that each of its forms does what it says and refuses where it stands."""

import re

import pytest
from django.test import Client

from hub.models import Token, User
from hub.services import tokens
from tests.hub import factories

pytestmark = pytest.mark.django_db
AGAIN = {"password": factories.PASSWORD}


@pytest.fixture
def browser(owner) -> Client:
    client = Client()
    client.post("/sign-in", {"username": "owner", **AGAIN})
    return client


def test_it_shows_where_one_signed_in_and_that_a_stranger_tried(browser, owner):
    Client().post("/sign-in", {"username": "owner", "password": "wrong"}, REMOTE_ADDR="203.0.113.9")
    page = browser.get("/account")
    shown = re.sub(r"<[^>]+>|\s+", " ", page.content.decode())
    assert re.search(r"failed\s+password\s+203\.0\.113\.9", shown)
    assert re.search(r"signed in\s+password\s+127\.0\.0\.1", shown)
    assert "owner@example.org" in page.content.decode()
    assert "no-store" in page.headers["Cache-Control"]


def test_the_address_is_changed(browser, owner):
    assert browser.post("/account/email", AGAIN | {"email": "new@Example.org"}).status_code == 302
    assert User.objects.get(pk=owner.pk).email == "new@example.org"
    refused = browser.post("/account/email", AGAIN | {"email": "nonsense"})
    assert refused.status_code == 422
    section = refused.content.decode().split('<section id="password">')[0]
    assert "is not an e-mail address" in section and 'role="alert"' in section
    assert browser.post("/account/email", AGAIN | {"email": ""}).status_code == 302
    assert User.objects.get(pk=owner.pk).email == ""


def test_ending_sessions_and_tokens_by_their_buttons(browser, owner):
    other = Client()
    other.force_login(owner)
    tokens.create_token(actor=owner, name="ci")
    browser.post("/account/end", {"what": "tokens"})
    assert not Token.objects.filter(revoked_at=None).exists()
    assert other.get("/account").status_code == 200
    browser.post("/account/end", {"what": "sessions"})
    assert other.get("/account").status_code == 302
    assert browser.get("/account").status_code == 200


def test_a_throttled_page_says_how_long_and_keeps_the_name(owner):
    client = Client()
    for _ in range(6):
        page = client.post("/sign-in", {"username": "owner", "password": "wrong"})
    assert page.status_code == 429
    assert f"Try again in {page.headers['Retry-After']} seconds." in page.content.decode()
    assert 'value="owner"' in page.content.decode() and 'role="alert"' in page.content.decode()


def test_the_menu_leads_there(browser):
    assert 'href="/account"' in browser.get("/").content.decode()
