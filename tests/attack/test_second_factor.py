"""One-time codes: guessed, replayed, skipped, stolen with the database; and that who lost the app still gets in."""

import re
import time

import pyotp
import pytest
from django.test import Client

from hub.models import Event, RecoveryCode, SecondFactor, Token
from hub.services.signing_in import second_factor, sessions, throttle
from tests.hub import factories
from tests.hub.api_client import Api, problem
from tests.hub.test_parallel import at_once

pytestmark = pytest.mark.django_db
AGAIN = {"password": factories.PASSWORD}


@pytest.fixture
def clock(monkeypatch):
    """Moves the clock of codes: `clock(seconds)`."""
    at = [float(time.time() // 30 * 30)]
    monkeypatch.setattr(second_factor.time, "time", lambda: at[0])
    return lambda seconds: at.__setitem__(0, at[0] + seconds)


@pytest.fixture
def app(owner, clock):
    """The owner's authenticator app, set up over REST; `app()` is its code now, `app.codes` the recovery codes."""
    return App(owner, clock)


class App:
    def __init__(self, user, clock):
        program = Api(user)
        self.totp = pyotp.TOTP(program.post("/account/second-factor", AGAIN).json()["secret"])
        self.clock, self.token = clock, program
        first = program.post("/account/second-factor/confirm", {"code": self()})
        self.codes = first.json()["recovery_codes"]
        clock(30)

    def __call__(self, steps: int = 0) -> str:
        return self.totp.at(int(second_factor.time.time()) + 30 * steps)


def sign_in(code=None, password=factories.PASSWORD, name="owner"):
    return Api().post("/sign-in", {"username": name, "password": password} | ({"code": code} if code else {}))


def to_code_page(password=factories.PASSWORD) -> Client:
    client = Client()
    answer = client.post("/sign-in", {"username": "owner", "password": password, "next": "/jobs"})
    assert answer.headers["Location"] == "/sign-in/code?next=%2Fjobs"
    return client


def test_set_up_on_the_page_asked_for_at_both_doors_and_switched_off(owner, clock):
    browser, program = Client(), Api(owner)
    browser.force_login(owner)
    assert browser.post("/account/second-factor", {"password": "wrong"}).status_code == 422
    page = browser.post("/account/second-factor", AGAIN, follow=True).content.decode()
    assert 'src="data:image/svg+xml' in page
    secret = re.search(r"<code>([A-Z2-7]{32})</code>", page)[1]
    assert sign_in().status_code == 201, "nothing changes before it is confirmed"
    assert browser.post("/account/second-factor", {"first_code": "000000"}).status_code == 422
    done = browser.post("/account/second-factor", {"first_code": pyotp.TOTP(secret).at(int(second_factor.time.time()))})
    codes = re.findall(r"\b(?:[a-z2-7]{4}-){3}[a-z2-7]{4}\b", done.content.decode())
    assert len(codes) == len(set(codes)) == second_factor.RECOVERY_CODES
    assert codes[0] not in browser.get("/account/second-factor").content.decode()
    assert program.get("/me").status_code == 200, "tokens made before go on"

    problem(sign_in(), 401, "sign_in.code_needed")
    clock(60)
    client = to_code_page()
    assert client.get("/account").status_code == 302, "the password alone is not enough"
    code = pyotp.TOTP(secret).at(int(second_factor.time.time()))
    assert client.post("/sign-in/code", {"code": code, "next": "/jobs"}).headers["Location"] == "/jobs"
    assert client.get("/account").status_code == 200

    for wrong in ({}, {"code": code}, {"code": "000000"}, {"code": codes[0], "password": "wrong"}):
        assert browser.post("/account/second-factor/off", AGAIN | wrong).status_code == 422
    assert browser.post("/account/second-factor/off", AGAIN | {"code": codes[0]}).status_code == 302
    assert sign_in().status_code == 201
    assert not RecoveryCode.objects.exists() and not SecondFactor.objects.exists()


def test_a_code_is_taken_once_and_near_its_time_only(app):
    assert sign_in(app(-2)).status_code == sign_in(app(2)).status_code == 401
    now, later = app(), app(1)
    assert sign_in(now).status_code == 201
    problem(sign_in(now), 401, "sign_in.code_wrong")
    assert sign_in(later).status_code == 201
    app.clock(30)
    problem(sign_in(now), 401, "sign_in.code_wrong")
    problem(sign_in(later), 401, "sign_in.code_wrong")


def test_a_recovery_code_is_taken_once_in_any_writing(app):
    given = f" {app.codes[0].upper().replace('-', ' ')} "
    assert sign_in(given).status_code == 201
    problem(sign_in(app.codes[0]), 401, "sign_in.code_wrong")
    renewed = app.token.post("/account/second-factor/recovery-codes", AGAIN | {"code": app()}).json()["recovery_codes"]
    problem(sign_in(app.codes[1]), 401, "sign_in.code_wrong")
    assert sign_in(renewed[1]).status_code == 201
    assert app.token.get("/account").json()["recovery_codes_left"] == second_factor.RECOVERY_CODES - 1


def test_codes_can_t_be_guessed(app):
    """Six digits stand up to guesses only where these are few, whichever door they come by, and from anywhere."""
    client = to_code_page()
    codes = [client.post("/sign-in/code", {"code": f"{n:06}"}, REMOTE_ADDR=f"10.0.0.{n}").status_code for n in range(3)]
    codes += [sign_in(f"{n:06}").status_code for n in range(3)]
    assert codes == [422] * 3 + [401] * (throttle.CODE.free - 3) + [429]
    assert sign_in(app()).status_code == 429
    assert client.post("/sign-in/code", {"code": app()}).headers["Retry-After"]
    assert Event.objects.filter(verb="sign_in.throttled", detail__way="code").count() == 1
    assert app.token.get("/me").status_code == 200


@pytest.mark.parametrize("code", ["", "0", "١٢٣٤٥٦", "12345\0", "x" * 40, "-" * 40, "'; --"])
def test_what_is_no_code_is_wrong_and_no_fault(app, code):
    assert to_code_page().post("/sign-in/code", {"code": code}).status_code == 422
    assert sign_in(code).status_code in (400, 401)


def test_half_signed_in_is_nothing_and_soon_over(app, owner, monkeypatch):
    assert Client().get("/sign-in/code").headers["Location"].startswith("/sign-in?")
    late, ended = to_code_page(), to_code_page()
    sessions.end_sessions(actor=owner, user=owner)
    assert ended.post("/sign-in/code", {"code": app()}).headers["Location"].startswith("/sign-in?")
    monkeypatch.setattr(sessions, "HALF_SECONDS", -1)
    assert late.post("/sign-in/code", {"code": app()}).headers["Location"].startswith("/sign-in?")
    assert "_auth_user_id" not in late.session and "_auth_user_id" not in ended.session


def test_the_database_alone_gives_no_codes(app):
    row = SecondFactor.objects.get()
    assert app.totp.secret not in str(SecondFactor.objects.values()) + str(Event.objects.values_list("detail"))
    kept = set(RecoveryCode.objects.values_list("digest", flat=True))
    assert not kept & {code for given in app.codes for code in (given, given.replace("-", ""))}
    assert row.secret.startswith("gAAAA")


def test_another_secret_key_is_said_and_opens_nothing(app, settings):
    old, settings.SECRET_KEY = settings.SECRET_KEY, "another key, long enough for everything that is made of it"
    problem(sign_in(app()), 409, "sign_in.second_factor_unreadable")
    problem(sign_in(), 401, "sign_in.code_needed")
    assert sign_in(app.codes[0]).status_code == 201, "the refusal's advice"
    settings.SECRET_KEY_FALLBACKS = [old]
    assert sign_in(app()).status_code == 201


def test_who_lost_the_app_and_the_codes_is_let_in_by_the_operator(app):
    from django.core.management import call_command

    call_command("reset_password", "owner", "--second-factor-off")
    assert sign_in().status_code == 201


@pytest.mark.parametrize("path", ["deactivate", "delete", "email", "password", "second-factor/off"])
def test_a_stolen_token_and_password_need_the_code_too(app, path):
    body = AGAIN | {"email": {"email": "t@example.org"}, "password": {"new_password": "a wholly new one"}}.get(path, {})
    refused = app.token.post(f"/account/{path}", body)
    problem(refused, 403, "sign_in.code_wrong")
    assert Token.objects.filter(revoked_at=None).exists()


@pytest.mark.django_db(transaction=True)
def test_one_code_sent_twice_at_once_is_taken_once(owner, clock):
    app = App(owner, clock)
    for code in (app(), app.codes[0]):
        outcomes = at_once(*[lambda code=code: second_factor.take(owner, code)] * 4)
        assert sorted(map(str, outcomes))[:3] == ["None"] * 3, outcomes
