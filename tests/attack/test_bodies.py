"""Whatever value stands in whatever part of a body: every route says what is wrong, and it is never our fault."""

import json
from collections.abc import Iterator

import pytest

from tests.attack.test_numbers import MARK, WRITTEN
from tests.hub.api_client import Api
from tests.hub.route_rules import RULES
from tests.hub.test_routes import address, world  # noqa: F401  the world is a fixture

pytestmark = pytest.mark.django_db


def variants(body: object) -> Iterator[object]:
    """The body with each of its parts, and one it doesn't know, replaced by the mark."""
    yield MARK
    if isinstance(body, dict):
        for name, value in body.items():
            yield from ({**body, name: changed} for changed in variants(value))
        yield {**body, "unheard_of": MARK}
    elif isinstance(body, list):
        for place, value in enumerate(body):
            yield from ([*body[:place], changed, *body[place + 1 :]] for changed in variants(value))


TAKE_JSON = [rule for rule in RULES if isinstance(rule.json, dict)]


@pytest.mark.parametrize(
    ("rule", "share"),
    [(rule, 4) for rule in TAKE_JSON] + [pytest.param(rule, 1, marks=pytest.mark.slow) for rule in TAKE_JSON],
    ids=str,
)
def test_no_body_of_any_route_breaks_it(rule, share, world):  # noqa: F811
    """Every value in place of the body; of its parts each has one in `share` of the values, others in each route."""
    api = Api(world.owner)
    url = address(rule.route, rule.to, world)
    for place, body in enumerate(variants(rule.json), TAKE_JSON.index(rule)):
        for written in WRITTEN if body == MARK else WRITTEN[place % share :: share]:
            raw = json.dumps(body).replace(json.dumps(MARK), written).encode()
            sent = {"content_type": "application/json", "headers": api.headers}
            answer = api.http.generic(rule.method, url, raw, **sent)
            assert answer.status_code < 500, (raw[:300], answer.content)
            assert len(answer.content) < 50_000, "It says the value back at length."
