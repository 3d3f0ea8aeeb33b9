"""Weak, huge and odd passwords at every place that sets one, and what a change of one ends.

The faults: eight spaces, the user's own name with "xx", and two megabytes were taken; a changed password ended nothing.
"""

import io
import re
import sys

import pytest
from django.contrib.auth.hashers import make_password
from django.core import mail as outgoing
from django.core.management import call_command
from django.core.management.base import CommandError
from django.test import Client

from hub.errors import Invalid, NotSignedIn
from hub.models import Event, Outbox, Token, User
from hub.services import accounts, outbox, tokens
from hub.services.signing_in import passwords, resets, throttle
from tests.hub import factories
from tests.hub.api_client import Api, problem
from tests.hub.test_parallel import at_once

pytestmark = pytest.mark.django_db
NEW = "a wholly different sentence"
LONGEST = passwords.LONGEST_BYTES
WEAK = {
    "eight spaces": " " * 8,
    "ten spaces": " " * 10,
    "short": "short pw1",
    "common": "password123",
    "digits": "8264017395",
    "one letter": "a" * 30,
    "own name": "christopherxx",
    "own name twice": "christopherchristopher",
    "own mail": "chris.smith@mail.example",
    "own mail's name": "chris.smith!!",
    "too long": "long " * 820,
    "two megabytes": "x y z!" * 350_000,
    "too long in bytes": "é" * 2049,
}


@pytest.fixture
def chris(db) -> User:
    return accounts.create_user(username="Christopher", email="chris.smith@mail.example", password=factories.PASSWORD)


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def by_sign_up_page(user, password):
    return (
        Client().post("/sign-up", {"username": "christophers", "email": user.email, "password": password}).status_code
    )


def by_sign_up(user, password):
    body = {"username": "christophers", "email": user.email, "password": password}
    return Api().post("/sign-up", body).status_code


def by_account_page(user, password):
    given = {"password": factories.PASSWORD, "new_password": password}
    return signed_in(user).post("/account/password", given).status_code


def by_rest(user, password):
    given = {"password": factories.PASSWORD, "new_password": password}
    return Api(user).post("/account/password", given).status_code


def by_link(user, password):
    client = Client()
    client.get(resets.make_link(user))
    return client.post("/sign-in/reset/new", {"password": password}).status_code


def by_command(*command):
    def act(user, password):
        sys.stdin = io.StringIO(f"{password}\n")
        try:
            call_command(*command, "--password-stdin", stdout=io.StringIO())
        except CommandError:
            return 422
        finally:
            sys.stdin = sys.__stdin__
        return 200

    return act


DOORS = {
    "sign-up page": by_sign_up_page,
    "POST /sign-up": by_sign_up,
    "account page": by_account_page,
    "POST /account/password": by_rest,
    "link": by_link,
    "create_user --reset": by_command("create_user", "Christopher", "--reset"),
    "create_user": by_command("create_user", "christophers", "--email=chris.smith@mail.example"),
    "reset_password": by_command("reset_password", "Christopher"),
}


@pytest.mark.parametrize("door", DOORS)
def test_every_door_has_the_same_rules(chris, door):
    before = set(User.objects.values_list("username", "password"))
    for weak, password in WEAK.items():
        assert DOORS[door](chris, password) == 422, weak
    assert set(User.objects.values_list("username", "password")) == before
    assert DOORS[door](chris, NEW) in (200, 201, 204, 302)


def test_the_longest_password_is_taken_and_one_byte_more_is_not_hashed(chris, monkeypatch):
    fits = ("a longer sentence " * 300)[:LONGEST]
    passwords.set_password(actor=chris, user=chris, password=fits)
    assert passwords.matches(chris, fits)
    monkeypatch.setattr(User, "check_password", lambda *_: pytest.fail("it was hashed"))
    for answer in (
        Client().post("/sign-in", {"username": "Christopher", "password": fits + "!"}),
        Api().post("/sign-in", {"username": "Christopher", "password": fits + "!"}),
        signed_in(chris).post("/account/delete", {"password": fits + "!"}),
    ):
        assert answer.status_code == 422
        assert "4,097 bytes" in answer.content.decode()


def test_a_password_is_the_same_in_both_ways_of_writing_it(chris):
    """`é` as one character or as two, `ﬁ` as a ligature; and those hashed before as they were typed go on."""
    passwords.set_password(actor=chris, user=chris, password="caf\u00e9 \ufb01ddles often")
    for typed in ("caf\u00e9 \ufb01ddles often", "cafe\u0301 fiddles often"):
        assert Api().post("/sign-in", {"username": "christopher", "password": typed}).status_code == 201
    User.objects.filter(pk=chris.pk).update(password=make_password("cafe\u0301 fiddles often"))
    assert (
        Api().post("/sign-in", {"username": "christopher", "password": "cafe\u0301 fiddles often"}).status_code == 201
    )
    assert Api().post("/sign-in", {"username": "christopher", "password": "cafe fiddles often"}).status_code == 401


@pytest.mark.parametrize("door", [by_account_page, by_rest, by_link, DOORS["reset_password"]])
def test_a_change_ends_all_tokens_and_all_other_sessions(chris, door):
    elsewhere, program = signed_in(chris), Api(chris)
    link = resets.make_link(chris)
    assert elsewhere.get("/account").status_code == program.get("/me").status_code == 200
    assert door(chris, NEW) in (200, 204, 302)
    assert elsewhere.get("/account").status_code == 302
    problem(program.get("/me"), 401, "token.invalid")
    assert not Token.objects.filter(revoked_at=None).exists()
    assert Client().get(link).status_code == 422
    assert Api().post("/sign-in", {"username": "Christopher", "password": factories.PASSWORD}).status_code == 401
    assert Api().post("/sign-in", {"username": "Christopher", "password": NEW}).status_code == 201
    assert {"user.password", "user.tokens_end", "user.sessions_end"} <= set(
        Event.objects.values_list("verb", flat=True)
    )


def test_the_browser_that_changes_it_stays_signed_in(chris):
    browser = signed_in(chris)
    assert browser.post("/account/password", {"password": factories.PASSWORD, "new_password": NEW}).status_code == 302
    assert browser.get("/account").status_code == 200


@pytest.mark.parametrize("path", ["password", "email", "deactivate", "delete", "second-factor", "second-factor/off"])
def test_a_stolen_session_or_token_can_t_do_it_without_the_password_and_can_t_guess_it(chris, path):
    more = {"new_password": NEW, "email": "thief@example.org"}
    browser, program, before = signed_in(chris), Api(chris), User.objects.values().get(pk=chris.pk)
    body = {"password": "wrong"} | {key: more[key] for key in more if key in (path, f"new_{path}")}
    codes = [browser.post(f"/account/{path}", more | {"password": "wrong"}).status_code for _ in range(3)]
    codes += [program.post(f"/account/{path}", body).status_code for _ in range(3)]
    assert codes == [422] * 3 + [403] * 2 + [429]
    body["password"] = factories.PASSWORD
    assert program.post(f"/account/{path}", body).status_code == 429
    after = User.objects.values().get(pk=chris.pk)
    assert after | {"last_login": None} == before | {"last_login": None}
    assert tokens.token_user(program.headers["Authorization"].removeprefix("Bearer "))


def test_a_request_under_way_when_all_ends_makes_no_token_that_outlives_it(chris):
    """Its password was right a moment ago; it was changed before the token was made."""
    under_way = User.objects.get(pk=chris.pk)
    passwords.set_password(actor=chris, user=chris, password=NEW)
    with pytest.raises(NotSignedIn):
        tokens.create_token(actor=under_way, name="late")
    User.objects.filter(pk=chris.pk).update(is_active=False)
    with pytest.raises(NotSignedIn):
        tokens.create_token(actor=chris, name="late")
    assert not Token.objects.exists()


@pytest.fixture
def mails(settings):
    """A hub that sends mails; they land in `outgoing.outbox`."""
    settings.HUB_EMAIL_URL, settings.HUB_URL = "console:", "https://hub.example.org"
    settings.DEFAULT_FROM_EMAIL = "hub@example.org"
    return outgoing.outbox


def test_a_mailed_link_sets_the_password_once_and_answers_nothing_about_names(chris, mails):
    answers = set()
    for name in ("christopher", "chris.smith@MAIL.example", "nobody", "x" * 999, ""):
        rows = Outbox.objects.count()
        answer = Client().post("/sign-in/reset", {"name": name})
        text = re.sub(r'(value=|X-CSRFToken": )"[^"]*"', "", answer.content.decode())
        answers.add((answer.status_code, text, Outbox.objects.count() - rows))
    assert len(answers) == 1, "neither words nor work may tell names"
    outbox.drain()
    assert [sent.to for sent in mails] == [[chris.email]] * 2
    link = re.search(r"https://hub\.example\.org(/sign-in/reset/\S+)", mails[1].body)[1]
    assert not any(link.rpartition("/")[2] in str(row.payload) for row in Outbox.objects.all())
    client = Client()
    opened = client.get(link)
    assert opened.headers["Location"] == "/sign-in/reset/new", "the link must not stay in the address bar"
    assert client.get(link).status_code == 302, "opening it does not use it up"
    assert client.post("/sign-in/reset/new", {"password": NEW}).headers["Location"] == "/sign-in"
    assert client.get("/account").status_code == 302, "a link signs nobody in"
    assert Client().get(link).status_code == 422
    assert client.post("/sign-in/reset/new", {"password": NEW}).status_code == 422
    assert Api().post("/sign-in", {"username": "Christopher", "password": NEW}).status_code == 201


def test_a_link_dies_of_age_of_another_use_and_with_the_account(chris, mails, settings, monkeypatch):
    link = resets.make_link(chris)
    assert Client().get(link).status_code == 302
    settings.PASSWORD_RESET_TIMEOUT = -1
    assert Client().get(link).status_code == 422
    settings.PASSWORD_RESET_TIMEOUT = 3600
    User.objects.filter(pk=chris.pk).update(is_active=False)
    assert Client().get(link).status_code == 422
    for uid in ("MQ", "OTk5OTk5OTk5OTk5OTk5OTk5OTk5OTk5", "LTE", "%00", "x" * 500):
        assert Client().get(f"/sign-in/reset/{uid}/abc-def").status_code in (404, 422)


def test_mails_of_links_are_few(chris, mails):
    for _ in range(10):
        resets.ask(name="christopher", visitor=resets.Visitor(address="192.0.2.1"))
    outbox.drain()
    assert len(mails) == throttle.MAILS.free
    codes = {Client().post("/sign-in/reset", {"name": f"n{n}"}).status_code for n in range(throttle.ADDRESS.free + 1)}
    assert codes == {200, 429}


def test_a_hub_without_mail_says_whom_to_ask_and_that_works(chris, settings):
    settings.HUB_URL = "http://hub.example"
    page = Client().get("/sign-in/reset").content.decode()
    command = re.search(r"manage\.py (\w+) YOUR-NAME", page)[1]
    out = io.StringIO()
    call_command(command, "christopher", stdout=out)
    path = out.getvalue().strip().removeprefix(settings.HUB_URL)
    client = Client()
    assert client.post(client.get(path).headers["Location"], {"password": NEW}).status_code == 302
    assert passwords.matches(User.objects.get(pk=chris.pk), NEW)


def test_a_changed_password_and_address_are_told_by_mail(chris, mails):
    browser = signed_in(chris)
    browser.post("/account/email", {"password": factories.PASSWORD, "email": "new@example.org"})
    browser.post("/account/password", {"password": factories.PASSWORD, "new_password": NEW})
    outbox.drain()
    assert [(sent.to, "changed" in sent.body) for sent in mails] == [([chris.email], True), (["new@example.org"], True)]


@pytest.mark.parametrize("address", ["nonsense", "a@b@c", "a b@example.org", "a@example.org\nBcc: b@example.org"])
def test_what_is_no_address_is_no_address(chris, address):
    with pytest.raises(Invalid) as refusal:
        accounts.set_email(actor=chris, user=chris, email=address)
    assert refusal.value.facts["field"] == "email"
    assert Api().post("/sign-up", {"username": "new", "password": NEW, "email": address}).status_code == 422


@pytest.mark.django_db(transaction=True)
def test_one_link_used_twice_at_once_sets_one_password(chris):
    uid, token = resets.make_link(chris).split("/")[-2:]
    wanted = [f"{NEW} number {number}" for number in range(3)]
    acts = [
        lambda password=password: resets.set_by_link(uid=uid, token=token, password=password) for password in wanted
    ]
    outcomes = at_once(*acts)
    assert sum(isinstance(outcome, User) for outcome in outcomes) == 1, outcomes
    assert sum(isinstance(outcome, Invalid) for outcome in outcomes) == 2, outcomes
