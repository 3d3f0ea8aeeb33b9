"""With a disk that is nearly full, every route: what stores answers 507 with a sentence, the rest as ever.

A new route that stores is refused by itself; one that frees room has to be named, in the code and here.
"""

import pytest

from tests.hub.route_rules import RULES, WHO
from tests.hub.test_routes import ask, seen, world  # noqa: F401  the world is a fixture

pytestmark = pytest.mark.django_db
HUGE = 10**12  # MB; more than any disk has
# What frees room, or is needed to, goes on.
GOES_ON = {
    ("api/v1/sign-in", "POST"),
    ("api/v1/jobs/check", "POST"),
    ("api/v1/jobs/<number:pk>/cancel", "POST"),
    *((route, "POST") for route in ("sign-in", "sign-out", "sign-in/code", "merge/basket")),
    *((route, "POST") for route in ("tokens/<number:pk>/revoke", "trash/<place:namespace>/<name:name>/purge")),
    *((f"admin/{route}", "POST") for route in ("users/<name:username>", "jobs/<number:pk>/cancel")),
    ("jobs/<number:pk>/cancel", "POST"),
    *((f"{door}jobs/<number:pk>/priority", "POST") for door in ("api/v1/", "api/v1/admin/", "", "admin/")),
    ("<name:namespace>/-/members", "POST"),
    ("api/telemetry/<anypath:rest>", "POST"),
    ("v1/telemetry", "POST"),
    # Of the protocol: these only read, or take files out of branches.
    ("api/<type:type>/<name:namespace>/<name:name>/lfs-files/batch", "POST"),
    ("api/validate-yaml", "POST"),
    ("api/<type:type>/<name:namespace>/<name:name>/paths-info/<anypath:rest>", "POST"),
    ("<place:namespace>/<name:name>/delete", "POST"),
    ("<place:namespace>/<name:name>/companion", "POST"),
}
# These take an earlier job's recipe to a page, or a recipe's YAML to JSON.
STORES_NOTHING = {("jobs/<number:pk>/again", "POST"), ("api/v1/recipes", "POST")}


def test_below_the_minimum_what_stores_is_507_and_the_rest_answers_as_ever(world, settings):  # noqa: F811
    settings.MIN_FREE_MB = HUGE
    stored, went_on = [], []
    for rule in RULES:
        said, answer = rule.statuses[WHO.index("admin")], ask(rule, "admin", world)
        usual = 302 if said == "in" else int(said)
        key = (rule.route, rule.method)
        if rule.method in ("GET", "HEAD", "DELETE") or key in GOES_ON or usual == 405 or rule.route.startswith("^"):
            assert seen(answer) == said, f"{rule} answers {answer.status_code}, not {usual}"
            went_on.append(key)
        elif key not in STORES_NOTHING:
            # A form that answers 200 shows a check, or what is wrong; it has stored nothing.
            shows = usual >= 400 or (usual == 200 and not rule.route.startswith("api/"))
            refused = {507, usual} if shows else {507}
            assert answer.status_code in refused, f"{rule} answers {answer.status_code} on a full disk"
            assert answer.status_code == usual or "nearly full" in answer.content.decode(), str(rule)
            assert not rule.protocol or answer.headers["Content-Type"] != "text/html; charset=utf-8", str(rule)
            stored.append(key)
    assert set(went_on) >= GOES_ON
    assert len(stored) > 25
