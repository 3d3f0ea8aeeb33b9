"""Browsing: what is listed, in which order, how often the database is asked, and the basket filled from it."""

import re

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from hub.models import Repository
from hub.web.paging import PAGE
from tests.hub import factories

pytestmark = pytest.mark.django_db


def signed_in(user) -> Client:
    client = Client()
    client.force_login(user)
    return client


def listed(response) -> list[str]:
    return [str(row) for row in response.context["repositories"]]


def test_an_empty_hub_says_what_to_do(client):
    text = client.get("/").content.decode()
    assert "No adapters yet" in text
    assert "hubctl push" in text
    assert "Nothing matches these filters" in client.get("/?search=zebra").content.decode()


def test_cards_show_what_people_choose_by(client, base, owner):
    factories.make_version(owner, rank=4, card="---\nlicense: mit\ntags: [food]\n---\nTastes <b>food</b>.\n")
    Repository.objects.update(downloads=1234)
    text = client.get("/").content.decode()
    for shown in ("owner/", "sentiment", "pico/llama", "LoRA", "rank 4", "mit", "1.2k"):
        assert shown in text
    assert "<b>food" not in text


def test_facets_count_and_link(client, base, owner):
    for index, rank in enumerate((4, 4, 8)):
        factories.make_version(owner, f"a{index}", rank=rank, seed=index)
    groups = {group["name"]: group["values"] for group in client.get("/").context["facets"]}
    assert [(row["value"], row["n"], row["on"]) for row in groups["rank"]] == [("4", 2, False), ("8", 1, False)]
    narrowed = client.get("/" + groups["rank"][1]["link"])
    assert listed(narrowed) == ["owner/a2"]
    chip = narrowed.context["browsing"].chips()[0]
    assert (chip["label"], chip["value"]) == ("Rank", "8")
    assert len(listed(client.get("/" + chip["link"]))) == 3


def test_the_address_keeps_search_and_filters_through_sorting_and_kinds(client, base, owner):
    factories.make_version(owner, rank=4)
    response = client.get("/?search=sent&rank=4&sort=name")
    assert listed(response) == ["owner/sentiment"]
    facet = response.context["facets"][0]["values"][0]["link"]
    assert "search=sent" in facet
    assert "sort=name" in facet
    assert "rank=4" in facet
    text = response.content.decode()
    assert '<input type="hidden" name="rank" value="4">' in text
    assert '<option value="name" selected>' in text


def test_private_adapters_are_listed_and_counted_for_members_only(people, base):
    factories.make_version(people.owner, "open", namespace=people.lab)
    factories.make_version(people.owner, "closed", namespace=people.lab, visibility="private", seed=1)
    for user, names in ((people.reader, ["lab/closed", "lab/open"]), (people.stranger, ["lab/open"])):
        response = signed_in(user).get("/?sort=name")
        assert sorted(listed(response)) == names
        owners = next(group for group in response.context["facets"] if group["name"] == "owner")
        assert owners["values"][0]["n"] == len(names)


def test_pages_follow_each_other_without_gap_or_repeat(client, owner):
    made = [factories.make_repository(owner, f"r{index:03}") for index in range(2 * PAGE + 5)]
    for sort in ("updated", "created", "downloads", "name"):
        seen, address = [], f"/?sort={sort}"
        while address:
            response = client.get(address)
            seen += listed(response)
            address = response.context["next"] and "/?" + response.context["next"]
        assert len(seen) == len(made)
        assert len(set(seen)) == len(made)
    assert client.get("/?cursor=broken").status_code == 422


def test_the_database_is_asked_as_often_for_many_as_for_few(client, base, owner):
    factories.make_version(owner, "first")

    def asked() -> int:
        with CaptureQueriesContext(
            connection,
        ) as queries:
            client.get("/")
        return len(queries)

    few = asked()
    for index in range(12):
        factories.make_version(owner, f"more{index}", seed=index)
    assert asked() == few <= 9


def test_ticking_fills_the_basket_and_ticking_again_empties_it(client, base, owner):
    version = factories.make_version(owner)
    headers = {"HX-Request": "true"}
    ticked = client.post("/merge/basket", {"toggle": "owner/sentiment"}, headers=headers).content.decode()
    assert "<strong>1</strong>" in ticked
    assert re.search(rf'id="tick-{version.repository_id}"[^>]*aria-pressed="true"', ticked)
    assert client.session["basket"] == ["owner/sentiment@v1"]
    assert 'aria-pressed="true"' in client.get("/").content.decode()
    client.post("/merge/basket", {"toggle": "owner/sentiment"}, headers=headers)
    assert client.session["basket"] == []


def test_the_basket_holds_only_what_its_owner_may_see(people, base):
    factories.make_version(people.owner, "closed", namespace=people.lab, visibility="private")
    assert signed_in(people.stranger).post("/merge/basket", {"toggle": "lab/closed"}).status_code == 404
    reader = signed_in(people.reader)
    assert reader.post("/merge/basket", {"toggle": "lab/closed"}).status_code == 302
    people.lab.memberships.filter(user=people.reader).delete()
    assert "lab/closed" not in reader.get("/merge").content.decode().split('id="candidates"')[1]


@pytest.mark.parametrize("back", ["https://evil.example/", "//evil.example", "javascript:alert(1)", "/\\evil.example"])
def test_the_basket_sends_nobody_elsewhere(client, back):
    assert client.post("/merge/basket", {"clear": "1", "next": back}).headers["Location"] == "/"


def test_the_tabs_keep_all_of_what_is_searched(client, base):
    for searched in ("r&kind=x", "50% + 1", "ä#b"):
        for tab in client.get("/", {"search": searched}).context["browsing"].kinds():
            assert client.get("/" + tab["link"]).context["browsing"].search == searched
