"""Signing in by a live provider: who comes, who they are here, which roles their groups give, and what ends it."""

from dataclasses import replace
from datetime import timedelta

import pytest
from django.conf import settings as live
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.utils import timezone

from hub import oidc
from hub.models import Event, Identity, Membership, User
from hub.services import accounts, administration, tokens
from hub.services.signing_in import sessions
from tests.hub import factories
from tests.hub.api_client import Api

pytestmark = pytest.mark.django_db


def role_in(name: str, place: str = "lab") -> str | None:
    row = Membership.objects.filter(user__username=name, namespace__name=place).first()
    return row and row.role


def test_a_newcomer_gets_an_account_of_the_providers_name(browser):
    factories.make_user("first", is_staff=True)
    browser.person("17", preferred_username="Mira Holt", email="mira@works.example", email_verified=True)
    answer = browser.come("17", "/sign-in/oidc?next=/bases")
    assert (answer.status_code, answer.headers["Location"]) == (302, "/bases")
    assert browser.name() == "Mira-Holt"
    user = User.objects.get(username="Mira-Holt")
    assert (user.email, user.has_usable_password(), user.is_staff) == ("mira@works.example", False, False)
    assert role_in("Mira-Holt", "Mira-Holt") == "admin"
    event = Event.objects.filter(verb="sign_in.ok").get()
    assert (event.object, event.detail["way"]) == ("Mira-Holt", "oidc")


def test_they_are_the_same_user_next_time_whatever_they_are_called_by_then(browser):
    browser.person("18", preferred_username="first")
    browser.come("18")
    browser.http.logout()
    browser.person("18", preferred_username="second", email="other@works.example")
    browser.come("18")
    assert browser.name() == "first"
    assert Identity.objects.get().shown == "other@works.example"


@pytest.mark.parametrize(
    ("given", "made"),
    [
        ("owner", "owner-2"),  # a user of the hub
        ("LAB", "LAB-2"),  # an organisation, in another case
        ("admin", "admin-2"),  # a word of the site
        ("a@works.example", "a"),
        ("--..é--", "user"),
        ("x" * 300, "x" * 60),
        ("a--b..c.git", "a-b-c"),
    ],
)
def test_a_name_that_can_not_be_had_becomes_one_that_can(browser, people, given, made):
    browser.person("19", preferred_username=given)
    browser.come("19")
    assert browser.name() == made


def test_neither_name_nor_address_takes_over_an_account(browser, people):
    """The provider says the owner's name and verified address; that is still another person."""
    people.owner.email = "owner@works.example"
    people.owner.save()
    browser.person("20", preferred_username="owner", email="owner@works.example", email_verified=True)
    browser.come("20")
    assert browser.name() == "owner-2"
    assert role_in("owner-2") is None


def test_an_address_that_is_not_verified_is_not_kept(browser):
    browser.person("21", preferred_username="mira", email="boss@works.example")
    browser.come("21")
    assert User.objects.get(username="mira").email == ""


def test_an_account_is_connected_by_its_owner_and_then_signs_in(browser, people):
    browser.http.force_login(people.owner)
    answer = browser.connect("22")
    assert answer.headers["Location"] == "/account"
    browser.http.logout()
    browser.come("22")
    assert browser.name() == "owner"
    assert people.owner.identities.get().subject == "22"
    connection = people.owner.identities.get().pk
    browser.http.post(f"/account/connections/{connection}/remove")
    assert not people.owner.identities.exists()
    browser.http.logout()
    browser.come("22")
    assert browser.name() != "owner"


def test_an_operator_takes_connections_away(browser, capsys):
    browser.person("36", preferred_username="mira")
    browser.come("36")
    call_command("reset_password", "mira")
    said = capsys.readouterr()
    assert "/sign-in/reset/" in said.out and "mira of http" in said.err
    assert Identity.objects.exists()
    call_command("reset_password", "mira", "--disconnect")
    assert not Identity.objects.exists()
    assert Event.objects.get(verb="identity.disconnect").actor is None


def test_one_persons_connection_is_not_anothers(browser, people):
    browser.person("23", preferred_username="mira")
    browser.come("23")
    browser.http.logout()
    browser.http.force_login(people.owner)
    assert browser.connect("23").status_code == 409
    mine = Identity.objects.get()
    assert browser.http.post(f"/account/connections/{mine.pk}/remove").status_code == 404


def test_the_only_way_in_is_not_taken_away(browser):
    browser.person("24", preferred_username="mira")
    browser.come("24")
    identity = Identity.objects.get()
    assert browser.http.post(f"/account/connections/{identity.pk}/remove").status_code == 409
    assert Identity.objects.filter(pk=identity.pk).exists()


def test_groups_give_roles_and_take_back_what_they_gave(browser, people, provider):
    places = {"team": [("lab", "reader")], "leads": [("Lab", "writer")], "nowhere": [("missing", "admin")]}
    live.OIDC = replace(provider, groups=places)
    for groups, role in [
        (["team", "nowhere", "other"], "reader"),
        (["team", "leads"], "writer"),
        (["team"], "reader"),
        ([], None),
        ("team", "reader"),
        (None, None),
    ]:
        browser.person("25", preferred_username="mira", groups=groups)
        browser.come("25")
        assert role_in("mira") == role, groups
        browser.http.logout()
    verbs = Event.objects.filter(verb__startswith="member.", namespace=people.lab, detail__user="mira")
    assert list(verbs.order_by("pk").values_list("verb", "actor")) == [
        ("member.set", None),
        ("member.set", None),
        ("member.set", None),
        ("member.remove", None),
        ("member.set", None),
        ("member.remove", None),
    ]


def test_a_role_given_by_hand_is_not_touched(browser, people, provider):
    live.OIDC = replace(provider, groups={"team": [("lab", "admin")]})
    browser.person("26", preferred_username="mira")
    browser.come("26")
    browser.http.logout()
    mira = User.objects.get(username="mira")
    accounts.set_role(actor=people.owner, namespace=people.lab, user=mira, role="reader")
    for groups in (["team"], []):
        browser.http.logout()
        browser.person("26", preferred_username="mira", groups=groups)
        browser.come("26")
        assert role_in("mira") == "reader"
        browser.http.logout()


def test_the_last_admin_stays(browser, people, provider):
    live.OIDC = replace(provider, groups={"leads": [("lab", "admin")]})
    browser.person("27", preferred_username="mira", groups=["leads"])
    browser.come("27")
    browser.http.logout()
    Membership.objects.filter(namespace=people.lab, role="admin").exclude(user__username="mira").delete()
    browser.http.logout()
    browser.person("27", preferred_username="mira", groups=[])
    browser.come("27")
    assert role_in("mira") == "admin"


def test_administrators_come_and_go_with_their_group(browser, root, provider):
    live.OIDC = replace(provider, admins=frozenset({"operators"}))
    for groups, is_one in ((["operators"], True), ([], False)):
        browser.person("28", preferred_username="mira", groups=groups)
        browser.come("28")
        assert User.objects.get(username="mira").is_staff is is_one
        browser.http.logout()
    administration.set_administrator(actor=None, user=User.objects.get(username="mira"), administrator=True)
    browser.come("28")
    assert User.objects.get(username="mira").is_staff, "made one by hand"


def test_an_administrator_made_by_hand_stays_whatever_a_group_gave_before(browser, root, provider):
    live.OIDC = replace(provider, admins=frozenset({"operators"}))
    for by_hand in ([True], [False, True]):
        browser.person("33", preferred_username="mira", groups=["operators"])
        browser.come("33")
        browser.http.logout()
        mira = User.objects.get(username="mira")
        for administrator in by_hand:
            administration.set_administrator(actor=root, user=mira, administrator=administrator)
        browser.person("33", preferred_username="mira", groups=[])
        browser.come("33")
        browser.http.logout()
        assert User.objects.get(username="mira").is_staff, by_hand
        User.objects.filter(username="mira").update(is_staff=False)


def test_the_last_administrator_stays_without_the_group_until_there_is_another(browser, root, provider):
    live.OIDC = replace(provider, admins=frozenset({"operators"}))
    browser.person("34", preferred_username="mira", groups=["operators"])
    browser.come("34")
    browser.http.logout()
    administration.set_administrator(actor=root, user=root, administrator=False)
    browser.person("34", preferred_username="mira", groups=[])
    for is_one in (True, False):
        assert browser.come("34").status_code < 400
        browser.http.logout()
        assert User.objects.get(username="mira").is_staff is is_one
        administration.set_administrator(actor=None, user=root, administrator=True)


def test_only_some_groups_may_come(browser, provider):
    live.OIDC = replace(provider, allowed=frozenset({"staff"}))
    browser.person("29", preferred_username="mira", groups=["guests"])
    browser.come("29")
    assert browser.name() is None
    assert not User.objects.filter(username="mira").exists()
    browser.person("29", preferred_username="mira", groups=["staff"])
    browser.come("29")
    assert browser.name() == "mira"


def test_without_sign_up_only_connected_people_come(browser, people, provider):
    live.OIDC = replace(provider, sign_up=False)
    browser.person("30", preferred_username="mira")
    answer = browser.come("30")
    assert answer.status_code == 403 and b"no account here yet" in answer.content
    assert not User.objects.filter(username="mira").exists()


def test_a_deactivated_account_stays_out(browser):
    browser.person("31", preferred_username="mira")
    browser.come("31")
    browser.http.logout()
    User.objects.filter(username="mira").update(is_active=False)
    browser.come("31")
    assert browser.name() is None
    assert Event.objects.get(verb="sign_in.failed").object == "mira"


def test_ending_sessions_ends_these_too(browser):
    browser.person("32", preferred_username="mira")
    browser.come("32")
    mira = User.objects.get(username="mira")
    sessions.end_sessions(actor=mira, user=mira)
    assert browser.name() is None


def test_the_session_ends_with_its_hours(browser, provider):
    live.OIDC = replace(provider, hours=3)
    browser.person("33", preferred_username="mira")
    browser.come("33")
    assert abs(browser.http.session.get_expiry_age() - 3 * 3600) < 60
    end = browser.http.session.get_expiry_date()
    browser.http.post("/merge/basket", {"clear": "1"})
    assert browser.http.session.get_expiry_date() == end, "clicking on puts it off"


def test_tokens_pause_when_their_owner_does_not_come(browser):
    browser.person("34", preferred_username="mira")
    browser.come("34")
    mira = User.objects.get(username="mira")
    api = Api(mira)
    assert api.get("/me").status_code == 200
    Identity.objects.update(seen_at=timezone.now() - timedelta(days=31))
    assert api.get("/me").status_code == 401
    browser.http.logout()
    browser.come("34")
    assert api.get("/me").status_code == 200


def test_people_with_a_password_are_not_paused(browser, people):
    Identity.objects.create(
        user=people.owner, issuer=live.OIDC.issuer, subject="x", seen_at=timezone.now() - timedelta(days=99)
    )
    secret = tokens.create_token(actor=people.owner, name="ci")[1]
    assert tokens.token_user(secret)


def test_who_has_no_password_confirms_by_coming_again(browser):
    factories.make_user("first", is_staff=True)
    browser.person("35", preferred_username="mira")
    browser.come("35")
    session = browser.http.session
    session["oidc_vouched"][2] -= 601
    session.save()
    refused = browser.http.post("/account/deactivate", {})
    assert b"sign in again" in refused.content
    assert User.objects.get(username="mira").is_active
    browser.http.logout()
    browser.come("35")
    browser.http.post("/account/deactivate", {})
    assert not User.objects.get(username="mira").is_active


def test_the_pages_offer_it_only_where_it_is_set(client, browser, settings):
    assert "Sign in with Works" in client.get("/sign-in").content.decode()
    settings.OIDC = None
    assert "Sign in with" not in client.get("/sign-in").content.decode()
    assert client.get("/sign-in/oidc").status_code == client.get("/sign-in/oidc/back").status_code == 404


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("HUB_OIDC_ISSUER", "http://works.example", "https address"),
        ("HUB_OIDC_ISSUER", "works.example", "https address"),
        ("HUB_OIDC_CLIENT_ID", "", "HUB_OIDC_CLIENT_ID"),
        ("HUB_OIDC_GROUPS", "team", "group=organisation:role"),
        ("HUB_OIDC_GROUPS", "team=lab", "group=organisation:role"),
        ("HUB_OIDC_GROUPS", "team=lab:boss", "reader, writer, admin"),
        ("HUB_OIDC_SIGN_UP", "yes", "'True' or 'False'"),
    ],
)
def test_wrong_settings_stop_the_start(monkeypatch, name, value, says):
    good = {"HUB_OIDC_ISSUER": "https://works.example/", "HUB_OIDC_CLIENT_ID": "a", "HUB_OIDC_CLIENT_SECRET": "b"}
    for key, word in good.items():
        monkeypatch.setenv(key, word)
    monkeypatch.setenv("HUB_OIDC_GROUPS", "a=b=lab:admin,team=lab:reader,team=guild:writer")
    found = oidc.provider()
    assert found.issuer == "https://works.example"
    assert found.groups == {"a=b": [("lab", "admin")], "team": [("lab", "reader"), ("guild", "writer")]}
    monkeypatch.setenv(name, value)
    with pytest.raises(ImproperlyConfigured, match=says):
        oidc.provider()
