"""Every visitor on every route: the URL table is walked, and each route and method must have its row in `route_rules`.

A new route without rows fails here. What is private answers strangers and anonymous visitors exactly as what does not
exist does.
"""

import io
import json
import re
from collections.abc import Iterator
from datetime import timedelta
from types import SimpleNamespace

import pytest
from django.db import transaction
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver
from django.utils import timezone

from hub.models import AccessRequest, Delivery, Job, Repository, Token
from hub.services import protections, refs, repositories, tokens
from hub.services.content import companions
from hub.services.sharing import pulls
from hub.services.webhooks import registry as webhooks
from tests.hub import asking, factories
from tests.hub.route_rules import FILL, FOR_ADAPTERS, LIMITED, ROWS_JSONL, RULES, WHO, Row
from tests.hub.row import REPOSITORY

pytestmark = pytest.mark.django_db
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")


def routes(resolver: URLResolver, prefix: str = "") -> Iterator[str]:
    """Every route, as its patterns read."""
    for entry in resolver.url_patterns:
        route = prefix + str(entry.pattern)
        if isinstance(entry, URLPattern):
            yield route
        else:
            yield from routes(entry, route)


ROUTES = sorted(set(routes(get_resolver())))


def test_every_route_has_a_rule_and_every_rule_a_route():
    ruled = {rule.route for rule in RULES}
    assert not set(ROUTES) - ruled, "Add their rows to tests/hub/route_rules.py."
    assert not ruled - set(ROUTES), "These routes are gone; take their rows away."
    assert len({(rule.route, rule.method) for rule in RULES}) == len(RULES)


def test_the_rules_hide_private_repositories_from_strangers_and_nobody():
    for rule in RULES:
        if REPOSITORY.search(rule.route):
            assert rule.statuses[:2] == ("401" if rule.protocol else "404", "404"), str(rule)


@pytest.fixture(scope="module")
def world(django_db_setup, django_db_blocker) -> Iterator[SimpleNamespace]:
    """A private adapter of `lab` with everything a route can ask for, and a way in for every visitor; made once."""
    with django_db_blocker.unblock(), transaction.atomic():
        yield make_world()
        transaction.set_rollback(True)


def make_world() -> SimpleNamespace:
    """The rows of `world`."""
    owner, member, reader, stranger = (factories.make_user(name) for name in ("owner", "member", "reader", "stranger"))
    lab = factories.make_organisation("lab", admin=owner, writer=member, reader=reader)
    factories.make_base()
    factories.make_base("pico/owned", created_by=owner)
    secret = factories.make_repository(owner, "secret", namespace=lab, visibility="private")
    files = factories.adapter_files(card="# Secret\n")
    report = {"method": "lego", "rank": 4, "modules": {}, "summary": {}, "warnings": []}
    made = {"origin": "merged", "recipe": {"kind": "lego", "version": 1, "rank": 4}, "report": report}
    published = factories.publish(owner, secret, files, **made)
    refs.set_tag(actor=owner, repository=secret, name="best", revision=published.revision)
    refs.create_branch(actor=owner, repository=secret, name="side", revision=published.revision)
    companions.add_companion(
        actor=owner, repository=secret, kind="seeds", name="seeds.jsonl", stream=io.BytesIO(ROWS_JSONL)
    )
    share(owner, stranger, secret)
    factories.make_repository(owner, "other", namespace=lab, visibility="private")
    share(owner, stranger, make_dataset(owner, lab))
    for kind in ("adapter", "dataset"):
        gone = factories.make_repository(owner, "gone", namespace=lab, kind=kind)
        repositories.delete_repository(actor=owner, repository=gone)
    merge = {"actor": owner, "kind": "lego", "recipe": {"rank": 2}, "inputs": [published.version]}
    job = asking.queue_job(**merge, output=("lab", "one"))
    cancelled = asking.queue_job(**merge, output=("lab", "two"))
    Job.objects.filter(pk=cancelled.pk).update(state="cancelled")
    upload = factories.begin(owner, secret, files)
    things = {"job": job.pk, "cancelled": cancelled.pk, "upload": upload.pk}
    hook, _ = webhooks.add_webhook(actor=owner, namespace=lab, url="https://ci.example.org/hub")
    things |= {"hook": hook.pk, "delivery": webhooks.ping(actor=owner, webhook=hook).key}
    Delivery.objects.update(state="failed")
    things["token"] = tokens.create_token(actor=owner, name="mine")[0].pk
    protections.protect(actor=owner, place=secret, pattern="release-*")
    protections.protect(actor=owner, place=lab, pattern="team-*")
    who = dict(zip(WHO[:5], (None, stranger, reader, member, owner), strict=True))
    who["site"] = factories.make_user("root", is_staff=True)
    return SimpleNamespace(things=things, users=who, owner=owner, secrets=_secrets(who, owner))


def make_dataset(owner, lab) -> Repository:
    """A private dataset beside the adapter, of the same name, with all that the adapter has and a dataset may have."""
    data = factories.make_repository(owner, "secret", namespace=lab, kind="dataset", visibility="private")
    pushed = factories.publish(owner, data, factories.dataset_files() | {"README.md": b"# Secret rows\n"})
    refs.set_tag(actor=owner, repository=data, name="best", revision=pushed.revision)
    companions.add_companion(
        actor=owner, repository=data, kind="seeds", name="seeds.jsonl", stream=io.BytesIO(ROWS_JSONL)
    )
    protections.protect(actor=owner, place=data, pattern="release-*")
    return data


def share(owner, stranger, repository: Repository) -> None:
    """The repository gated, with a request for its files and a proposal."""
    repositories.update_repository(actor=owner, repository=repository, gate="manual")
    AccessRequest.objects.create(repository=repository, user=stranger)
    change = factories.store({"README.md": b"# Better\n"})
    pulls.propose(actor=owner, repository=repository, title="A better card", files=change)


def _secrets(who: dict, owner) -> dict[str, str]:
    """Column → the secret of its token."""
    scopes = {name: (user, ["read", "write", "admin"]) for name, user in who.items() if user}
    scopes |= {"read_token": (owner, ["read"]), "write_token": (owner, ["read", "write"])}
    made = {name: tokens.create_token(actor=user, name=name, scopes=s)[1] for name, (user, s) in scopes.items()}
    every = {"actor": owner, "scopes": ["read", "write", "admin"]}
    made["here_token"] = tokens.create_token(name="here", repository="lab/secret", **every)[1]
    made["other_token"] = tokens.create_token(name="other", repository="lab/other", **every)[1]
    made["namespace_token"] = tokens.create_token(name="namespace", namespace="lab", **every)[1]
    made["download_token"] = tokens.create_token(actor=owner, name="download", scopes=["download"])[1]
    token, made["expired_token"] = tokens.create_token(actor=owner, name="old", scopes=["read", "write", "admin"])
    Token.objects.filter(pk=token.pk).update(expires_at=timezone.now() - timedelta(days=1))
    return made


def address(route: str, to: dict, world: SimpleNamespace) -> str:
    """The route with its parts filled."""
    values = FILL | {name: str(world.things.get(value, value)) for name, value in to.items()}
    filled = re.sub(r"<\w+:(\w+)>", lambda part: str(values[part[1]]), route)
    return "/" + filled.replace(r"^[\s\S]*$", "no-such-route").replace(r"^api(?:/[\s\S]*)?$", "api/no-such-route")


def ask(rule: Row, who: str, world: SimpleNamespace, method: str | None = None, **to: str):
    """What this visitor gets; whatever the request changes in the database is undone."""
    client, headers = Client(raise_request_exception=False), dict(rule.headers)
    if rule.route.startswith("api/") or rule.protocol or who not in world.users:
        if who in world.secrets:
            headers["Authorization"] = f"Bearer {world.secrets[who]}"
    elif world.users[who]:
        client.force_login(world.users[who])
    url = address(rule.route, rule.to | to, world) + (f"?{rule.query}" if rule.query else "")
    send = getattr(client, (method or rule.method).lower())
    sent: dict = {"headers": headers}
    if (method or rule.method) not in ("GET", "HEAD"):
        sent |= {"data": rule.form} if rule.form is not None else _body(rule)
    with transaction.atomic():
        response = send(url, **sent)
        transaction.set_rollback(True)
    return response


def _body(rule: Row) -> dict:
    if rule.raw is not None:
        return {"data": rule.raw, "content_type": "application/octet-stream"}
    return {"data": json.dumps(rule.json or {}), "content_type": "application/json"}


def seen(response) -> str:
    """The status as the table writes it."""
    to_sign_in = response.status_code == 302 and response.headers["Location"].startswith("/sign-in")
    return "in" if to_sign_in else str(response.status_code)


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_everybody_gets_what_the_rule_says(rule, world):
    columns = (*WHO[: len(rule.statuses)], *LIMITED[: len(rule.limits)], "site")
    statuses = (*rule.statuses, *rule.limits, rule.site or rule.statuses[WHO.index("stranger")])
    got = {who: seen(ask(rule, who, world)) for who in columns}
    assert got == dict(zip(columns, statuses, strict=True))
    if rule.method == "GET":
        some = ("anonymous", "stranger", "admin")
        heads = {who: seen(ask(rule, who, world, "HEAD")) for who in some}
        assert heads == {who: got[who] for who in some} or set(heads.values()) == {"405"}
    if not rule.limits:
        assert seen(ask(rule, "admin_token", world_with_admin_token(world))) == got["anonymous"], (
            "a token is nobody here"
        )


def world_with_admin_token(world: SimpleNamespace) -> SimpleNamespace:
    """The same, with the admin's token as a visitor of pages."""
    world.secrets["admin_token"] = world.secrets["admin"]
    return world


@pytest.mark.parametrize("route", ROUTES)
def test_methods_without_a_rule_are_refused(route, world):
    rules = {rule.method: rule for rule in RULES if rule.route == route}
    example = next(iter(rules.values()))
    for method in METHODS:
        if method not in rules:
            status = ask(example, "site" if example.site else "admin", world, method).status_code
            expected = 404 if r"[\s\S]*" in route else 405
            assert status == expected, f"{method} /{route} answers {status}: give it a row, or refuse the method."


@pytest.mark.parametrize(
    "rule", [rule for rule in RULES if REPOSITORY.search(rule.route) and not rule.protocol], ids=str
)
def test_a_dataset_of_the_same_name_is_kept_as_well(rule, world):
    """At the address of datasets; the token that is limited to the adapter is a stranger to it."""
    at = {"namespace": "datasets/lab"}
    columns = (*WHO[: len(rule.statuses)], *(("here_token", "namespace_token") if rule.limits else ()))
    got = {who: seen(ask(rule, who, world, **at)) for who in columns}
    limits = (rule.limits[1], rule.limits[2]) if rule.limits else ()
    expected = dict(zip(columns, (*rule.statuses, *limits), strict=True))
    if any(part in rule.route for part in FOR_ADAPTERS):
        refused = ("401", "403") if rule.limits else ()
        expected = {who: status if status in refused else "404" for who, status in expected.items()}
    assert got == expected
    hidden, missing = (ask(rule, "stranger", world, **at, **name) for name in ({}, {"name": "no-such-name"}))
    assert plain(hidden, rule.to.get("name", FILL["name"])) == plain(missing, "no-such-name")


@pytest.mark.parametrize("rule", [rule for rule in RULES if REPOSITORY.search(rule.route)], ids=str)
def test_what_is_private_answers_like_what_is_not_there(rule, world):
    for who in ("anonymous", "stranger"):
        name = rule.to.get("name", FILL["name"])
        hidden, missing = ask(rule, who, world), ask(rule, who, world, name="no-such-name")
        assert seen(hidden) == seen(missing) == ("401" if rule.protocol and who == "anonymous" else "404")
        assert plain(hidden, name) == plain(missing, "no-such-name")


def plain(response, name: str) -> str:
    """The answer without the name in the request, and without what is random in each answer."""
    text = response.content.decode().replace(name, "NAME")
    return re.sub(r'(csrf\w*"? (?:value|content)=|X-CSRFToken": )"[^"]*"', "", text)
