"""Query strings, forms, addresses and headers: whatever stands in them, the answer is one below 500, on every route.

Names are not listed here: every word that stands in the doors' code is tried as the name of a field, and every field of
every recipe. Bodies in JSON are tried in `test_numbers`.
"""

import ast
import dataclasses
import re
from functools import cache
from types import SimpleNamespace
from urllib.parse import quote, urlencode

import pytest
from django.core.cache import cache as remembered
from django.db import transaction
from django.test import Client

from composition.registry import METHODS
from tests.hub.route_rules import RULES
from tests.hub.test_routes import FILL, address, make_world
from tests.test_rooms import sources

pytestmark = pytest.mark.django_db
# As they stand in an address: NUL, no UTF-8, half a surrogate pair, numbers of no column, a line break, a path.
RAW = ["%00", "%ff%fe", "%ed%a0%80", "9" * 400, "-1", "%0d%0aX-Y:%20z", "..%2f..%2fetc%2fpasswd", "x" * 3000]
MORE = [
    "1e999",
    "NaN",
    "",
    "null",
    "[]",
    "%7B%22a%22%3A1%7D",
    "9223372036854775808",
    "%F0%9F%98%80%CC%81",
    "0",
    "a/b@v1",
]
MORE += ["%u0000", "true", "' OR 1=1 --", "<b>", "1.5", "%25", "lab/secret", "lab/secret@v1", "pico/llama", "%D9%A3"]
QUICK = ("%00", "-1")
TRIED = [pytest.param(raw, marks=() if raw in QUICK else pytest.mark.slow, id=raw[:20]) for raw in [*RAW, *MORE]]


@pytest.fixture(scope="module")
def world(django_db_setup, django_db_blocker):
    with django_db_blocker.unblock(), transaction.atomic():
        yield make_world()
        transaction.set_rollback(True)


@cache
def words() -> list[str]:
    """Every word of the doors' code, and every field of every recipe: whatever a request may be asked for."""
    found = {field.name for method in METHODS.values() for field in dataclasses.fields(method.recipe)}
    for path in [path for path in sources("hub") if {"web", "api"} & set(path.parts)]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.isidentifier():
                found.add(node.value)
    return sorted(found - {"csrfmiddlewaretoken"})


def test_the_words_hold_the_fields_of_every_door():
    assert {"cursor", "search", "kind", "rank", "inputs", "version", "expires_in_days", "limit"} <= set(words())


def send(
    world: SimpleNamespace, rule, *, url="", query="", body="", kind="application/x-www-form-urlencoded", **headers
):
    """The answer to the owner; whatever the request changes is undone."""
    remembered.clear()
    client = Client(raise_request_exception=False)
    if not rule.route.startswith("api/"):
        client.force_login(world.owner)
    elif "Authorization" not in headers:
        headers["Authorization"] = f"Bearer {world.secrets['admin']}"
    with transaction.atomic():
        url = url or address(rule.route, rule.to, world)
        response = client.generic(rule.method, url, body, content_type=kind, QUERY_STRING=query, headers=headers)
        if response.streaming and "event-stream" in response.headers.get("Content-Type", ""):
            next(iter(response.streaming_content), None)
        transaction.set_rollback(True)
    return response


def fine(response, *what) -> None:
    assert response.status_code < 500, (response.status_code, *(str(part)[:300] for part in what))


GETS = [rule for rule in RULES if rule.method == "GET"]
FORMS = [rule for rule in RULES if rule.method == "POST" and not rule.route.startswith("api/")]


@pytest.mark.parametrize("raw", TRIED)
def test_no_query_string_breaks_a_route(world, raw):
    """All names at once, beside what the route needs."""
    tried = "&".join(f"{name}={raw}" for name in words() if name not in ("next",))
    for rule in GETS:
        fine(send(world, rule, query=tried), rule, raw)
        if rule.query:
            fine(send(world, rule, query=f"{rule.query}&{tried}"), rule, raw)


def batched(names: list[str], many: int = 12) -> list[list[str]]:
    """The names in groups of so many."""
    return [names[start : start + many] for start in range(0, len(names), many)]


@pytest.mark.slow
@pytest.mark.parametrize("rule", [rule for rule in GETS if "/schema" not in rule.route], ids=str)
def test_no_field_of_a_query_string_breaks_a_route(world, rule):
    """A few names at a time, since one that is refused hides the others."""
    for names in batched(words()):
        for raw in (RAW[3], "-1", "lab/secret"):
            fine(send(world, rule, query="&".join([rule.query, *(f"{name}={raw}" for name in names)])), names, raw)


@pytest.mark.parametrize("raw", TRIED)
def test_no_form_breaks_a_page(world, raw):
    """Each field of the form that works, then all names at once beside it."""
    for rule in FORMS:
        good = rule.form or {}
        for name in good:
            rest = urlencode({key: value for key, value in good.items() if key != name})
            fine(send(world, rule, body=f"{rest}&{name}={raw}"), rule, name, raw)
        tried = "&".join(f"{name}={raw}" for name in words() if name not in good)
        fine(send(world, rule, body=f"{urlencode(good)}&{tried}"), rule, raw)
        fine(send(world, rule, body=raw), rule, raw)


@pytest.mark.slow
@pytest.mark.parametrize("rule", FORMS, ids=str)
def test_no_field_of_a_form_breaks_a_page(world, rule):
    for names in batched(words()):
        for raw in (RAW[3], "1e999", "lab/secret"):
            given = {key: value for key, value in (rule.form or {}).items() if key not in names}
            tried = "&".join(f"{name}={raw}" for name in names)
            fine(send(world, rule, body=f"{urlencode(given)}&{tried}"), names, raw)


NAMES = [
    "a" * 96,
    "a" * 3000,
    "%00",
    "%ff",
    "..",
    ".",
    "9" * 18,
    "9" * 40,
    "0" * 40,
    "v0",
    "v999999999",
    "v" + "9" * 40,
]
NAMES += ["a%2fb", "%F0%9F%98%80", "-", "~", "a@b", "pico/llama@main", "@", "a" * 1024, "%0a", "None", "%2e%2e%2fx"]


@pytest.mark.parametrize("names", [NAMES[:2], pytest.param(NAMES[2:], marks=pytest.mark.slow)], ids=["quick", "all"])
@pytest.mark.parametrize("rule", [rule for rule in RULES if "<" in rule.route], ids=str)
def test_no_address_breaks_a_route(world, rule, names):
    """Each part of the address by itself, also where no route takes such a part."""
    values = FILL | {name: str(world.things.get(value, value)) for name, value in rule.to.items()}
    for part in re.findall(r"<\w+:(\w+)>", rule.route):
        for value in names:
            fill = lambda found, value=value, part=part: value if found[1] == part else quote(str(values[found[1]]))  # noqa: E731
            url = "/" + re.sub(r"<\w+:(\w+)>", fill, rule.route).replace("^.*$", value)
            sent = {"body": urlencode(rule.form)} if rule.form else {"kind": "application/json", "body": "{}"}
            fine(send(world, rule, url=url, query=rule.query, **sent), url)


HEADERS = [
    "Range",
    "If-Range",
    "If-None-Match",
    "If-Modified-Since",
    "Last-Event-ID",
    "Upload-Offset",
    "Idempotency-Key",
]
HEADERS += ["Accept", "Accept-Encoding", "Accept-Language", "HX-Request", "HX-Target", "HX-Current-URL", "Referer"]
HEADERS += ["Content-Encoding", "X-Request-ID", "Cookie", "X-HTTP-Method-Override"]
LINES = [
    "\x00",
    "\xff\xfe",
    "9" * 400,
    "-1",
    "bytes=9-1",
    f"bytes=0-{'9' * 400}",
    "bytes=-0",
    "x" * 9000,
    "sessionid=é",
]


ENDS = ("", "; boundary=é", "; boundary=x")


@pytest.mark.parametrize(
    "line",
    [pytest.param(line, marks=() if line == LINES[0] else pytest.mark.slow, id=ascii(line[:12])) for line in LINES],
)
def test_no_header_breaks_a_route(world, line):
    """All headers at once; then those that say who is asking."""
    for rule in RULES:
        sent = {"body": urlencode(rule.form)} if rule.form else {"kind": "application/json", "body": "{}"}
        fine(send(world, rule, query=rule.query, **sent, **dict.fromkeys(HEADERS[:-2], line)), rule, line)
    for rule in [rule for rule in RULES if rule.route in ("api/v1/me", "tokens", "api/v1/jobs")]:
        for given in (line, f"Bearer {line}", f"Bearer ah_{line}", "Bearer", f"Basic {line}"):
            fine(send(world, rule, Authorization=given), rule, given)
        for kind in (
            line,
            "application/json; charset=nonsense",
            "multipart/form-data",
            "multipart/form-data; boundary=é",
        ):
            fine(send(world, rule, kind=kind, body="x"), rule, kind)
