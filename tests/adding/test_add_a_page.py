"""Steps of docs/architecture.md, "Add a page": the toy `family`, laid over the tree, visited in every role."""

import sys

import pytest
from django.test import Client
from django.urls import get_resolver

from hub.services.repositories import update_repository
from tests.adding import overlay
from tests.hub import factories
from tests.hub.api_client import Api, problem
from tests.hub.route_rules import HERE, PAGE, RULES, WHO, row
from tests.hub.test_routes import ask, make_world, plain, routes, seen

ROUTE = f"{HERE}/family"
# Its rows, as they would stand in tests/hub/route_rules.py.
ROWS = [
    row(ROUTE, "GET", PAGE),
    row(ROUTE, "POST", "404 404 403 302 302", form={"tag": "head"}),
]


@pytest.fixture
def page(settings):
    """The toy page, as if it had been added."""
    with overlay.importable("toy_page"):
        settings.ROOT_URLCONF = "tests.adding.toy_urls"
        (engine,) = settings.TEMPLATES
        settings.TEMPLATES = [{**engine, "DIRS": [overlay.tree("toy_page") / "templates", *engine["DIRS"]]}]
        yield
    sys.modules.pop("tests.adding.toy_urls", None)


def client_of(user=None) -> Client:
    client = Client()
    if user is not None:
        client.force_login(user)
    return client


def test_it_takes_a_view_what_it_shows_and_a_template():
    assert overlay.files("toy_page") == [
        "hub/web/pages/family.py",
        "hub/web/views/family.py",
        "templates/repository/family.html",
        "templates/repository/versions.html",
    ]


@pytest.mark.django_db
@pytest.mark.usefixtures("page", "store")
class TestEverybody:
    def test_the_walk_over_all_routes_asks_for_its_rows(self):
        assert set(routes(get_resolver())) - {rule.route for rule in RULES} == {ROUTE}

    @pytest.mark.parametrize("rule", ROWS, ids=str)
    def test_everybody_gets_what_the_rows_say(self, rule):
        world = make_world()
        got = tuple(seen(ask(rule, who, world)) for who in WHO[:5])
        assert got == rule.statuses

    @pytest.mark.parametrize("rule", ROWS, ids=str)
    def test_what_is_private_answers_like_what_is_not_there(self, rule):
        world = make_world()
        for who in ("anonymous", "stranger"):
            hidden, missing = ask(rule, who, world), ask(rule, who, world, name="no-such-name")
            assert seen(hidden) == seen(missing) == "404"
            assert plain(hidden, "secret") == plain(missing, "no-such-name")

    def test_other_methods_are_refused(self):
        world = make_world()
        assert {ask(ROWS[0], "admin", world, method).status_code for method in ("PUT", "PATCH", "DELETE")} == {405}


@pytest.mark.django_db
@pytest.mark.usefixtures("page", "store")
class TestWhatItShows:
    @pytest.fixture
    def child(self, people, base):
        """`lab/child`, public, made of `lab/open` and the private `lab/hush`."""
        parents = [
            factories.make_version(people.owner, "open", namespace=people.lab, base=base, seed=1),
            factories.make_version(people.owner, "hush", namespace=people.lab, base=base, seed=2, visibility="private"),
        ]
        made = factories.make_repository(people.owner, "child", namespace=people.lab)
        files = factories.adapter_files(seed=3)
        version = factories.publish(people.owner, made, files, origin="merged", parents=parents).version
        made.refresh_from_db()
        update_repository(actor=people.owner, repository=made, visibility="public")
        return version

    def test_members_see_all_names_and_others_those_they_may(self, people, child):
        for user, names, hidden in (
            (None, ["lab/open@v1"], 1),
            (people.stranger, ["lab/open@v1"], 1),
            (people.reader, ["lab/open@v1", "lab/hush@v1"], 0),
        ):
            shown = client_of(user).get("/lab/child/family")
            assert (shown.context["parents"], shown.context["hidden"]) == (names, hidden)
            assert ("hush" in shown.content.decode()) == (not hidden)
            told = Api(user).get("/repositories/lab/child/versions/v1").json()["parents"]
            assert [one["name"] for one in told if not one["hidden"]] == names

    def test_it_is_linked_and_frames_the_version(self, people, child):
        assert 'href="/lab/child/family"' in client_of().get("/lab/child/versions").content.decode()
        text = client_of().get("/lab/open/family").content.decode()
        assert 'href="/lab/child/at/v1"' in text
        assert 'aria-label="Sections"' in text
        assert "Tag it" not in text
        assert "Tag it" in client_of(people.member).get("/lab/open/family").content.decode()

    def test_what_it_does_is_the_same_over_rest(self, people, child):
        member, api = client_of(people.member), Api(people.member)
        assert member.post("/lab/child/family", {"tag": "head"})["Location"] == "/lab/child/family"
        tags = {ref["name"]: ref["version"] for ref in api.get("/repositories/lab/child/refs").json()["results"]}
        assert tags["head"] == "v1"
        refused = member.post("/lab/child/family", {"tag": "v7"})
        error = problem(api.put("/repositories/lab/child/tags/v7", {"ref": "v1"}), 422, "invalid")
        assert refused.status_code == 422
        assert refused.context["refused"].message == error["detail"]
        assert 'value="v7"' in refused.content.decode()


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("page")
def test_what_it_does_is_the_same_for_the_client(hubctl, lab):
    lab.pages.post("/ada/one/family", {"tag": "head"})
    assert hubctl("info", "ada/one@head", "--json").json["version"]["version"] == "v1"
    refused, shown = hubctl("tag", "ada/one@v1", "v7"), lab.pages.post("/ada/one/family", {"tag": "v7"})
    assert refused.code == 1
    assert shown.context["refused"].message in refused.err
