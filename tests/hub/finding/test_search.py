"""What a search finds, in which order, for whom: the same on SQLite and PostgreSQL."""

from types import SimpleNamespace

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from hub import queries
from hub.access import ANONYMOUS, Viewer
from hub.models import Repository, SearchEntry, name_words, words_of
from hub.services import catalogue, repositories
from hub.services.catalogue import catching_up
from hub.services.repositories.moving import move_repository
from hub.services.upkeep.purge import purge_repository
from tests.hub import factories
from tests.hub.api_client import Api

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("store")]


@pytest.fixture
def shelf(people, base) -> SimpleNamespace:
    """Repositories of `owner` whose names, descriptions and cards speak of dates."""
    for name, description in (
        ("updates", "News of the week"),
        ("dates", ""),
        ("dates-iso", ""),
        ("iso-dates", ""),
        ("iso-datestamps", ""),
        ("calendar", "Knows dates and days"),
        ("candidates", "People who run"),
        ("coffee", "Of the Café Über"),
    ):
        factories.make_repository(people.owner, name, description=description)
    factories.make_version(people.owner, "carded", card="# Notes\n\nReads dates.\n\n```\nfenced words\n```\n")
    factories.make_repository(people.owner, "secret-dates", namespace=people.lab, visibility="private")
    return people


def found(search: str, viewer: Viewer = ANONYMOUS, **wanted) -> list[str]:
    rows = queries.repositories(viewer, **wanted)
    return [row.name for row in queries.best(rows, search, 50)]


def test_the_exact_name_comes_first_then_how_names_begin_then_words_then_what_is_said(shelf):
    names = found("dates")
    assert names[:4] == ["dates", "dates-iso", "iso-dates", "iso-datestamps"]
    assert set(names[4:]) == {"calendar", "carded"}


def test_a_word_is_never_found_inside_another(shelf):
    assert not {"updates", "candidates"} & set(found("dates"))
    assert "updates" in found("upda")


def test_every_word_is_there_somewhere(shelf):
    assert set(found("iso dates")) == {"dates-iso", "iso-dates", "iso-datestamps"}
    assert found("owner/dates")[0] == "dates"
    assert found("pico carded") == ["carded"]
    assert found("dates zebra") == []


def test_letters_are_compared_without_case_and_accents(shelf):
    assert found("CAFE uber") == found("café Über") == found("Ｃａｆé") == ["coffee"]


def test_code_of_a_card_is_not_searched(shelf):
    assert found("fenced") == []
    assert found("reads") == ["carded"]


@pytest.mark.parametrize("search", ["???", "'", '"', "a' & b", "date*", "NEAR(", "-x", "(", ":*", "\\", "%", "_"])
def test_marks_mean_nothing(shelf, search):
    assert isinstance(found(search), list)
    assert Client().get("/", {"search": search}).status_code == 200


def test_what_one_may_not_see_is_neither_found_nor_corrected_to(shelf):
    member, stranger = Viewer(user=shelf.reader), Viewer(user=shelf.stranger)
    assert "secret-dates" in found("secret", member)
    for viewer in (stranger, ANONYMOUS):
        assert found("secret", viewer) == []
    page = Client().get("/", {"search": "secrte"}).content.decode()
    assert "secret" not in page.replace("secrte", "")


def test_a_mistyped_word_is_corrected_and_the_page_says_so(shelf):
    response = Client().get("/", {"search": "calendra"})
    assert [row.name for row in response.context["repositories"]] == ["calendar"]
    assert "Nothing has the words “calendra”" in response.content.decode()
    assert not Client().get("/", {"search": "xqzwvk"}).context["repositories"]


def test_what_changes_is_found_by_its_new_words_at_once(shelf):
    owner = Viewer(user=shelf.owner)
    row = Repository.objects.get(name="calendar")
    repositories.update_repository(actor=shelf.owner, repository=row, description="Knows weekdays")
    assert found("knows dates") == []
    assert found("weekdays") == ["calendar"]
    move_repository(actor=owner, repository=row, namespace=shelf.lab, name="almanac")
    assert found("calendar") == []
    assert found("lab almanac") == ["almanac"]
    row = Repository.objects.get(name="almanac")
    repositories.update_repository(actor=shelf.owner, repository=row, visibility="private")
    assert found("almanac") == []
    repositories.delete_repository(actor=shelf.owner, repository=row)
    assert found("almanac", owner) == []
    row = repositories.restore_repository(actor=shelf.owner, repository=row)
    assert found("almanac", owner) == ["almanac"]
    repositories.delete_repository(actor=shelf.owner, repository=row)
    purge_repository(actor=shelf.owner, repository=Repository.objects.get(pk=row.pk))
    assert not SearchEntry.objects.filter(names__contains="almanac").exists()


def test_a_new_card_brings_its_words_and_takes_the_old_ones(shelf):
    row = Repository.objects.get(name="carded")
    factories.publish(shelf.owner, row, {**factories.adapter_files(), "README.md": b"# Other\n\nReads invoices.\n"})
    assert found("invoices") == ["carded"]
    assert "carded" not in found("dates")


def test_pages_of_the_best_follow_each_other(people):
    for number in range(70):
        factories.make_repository(people.owner, f"dates-{number}")
    seen, address = [], "/?search=dates"
    while address:
        response = Client().get(address)
        seen += [row.name for row in response.context["repositories"]]
        address = response.context["next"] and "/?" + response.context["next"]
    assert sorted(seen) == sorted(f"dates-{number}" for number in range(70))
    api, listed, path = Api(), [], "/repositories?search=dates&limit=30"
    while path:
        answer = api.get(path).json()
        listed += [row["name"] for row in answer["results"]]
        path = answer["next"]
    assert listed == seen


def test_a_cursor_of_another_list_is_refused(shelf):
    following = Api().get("/repositories?sort=name&limit=2").json()["next"]
    refused = Api().get(following.replace("sort=name", "search=dates"))
    assert (refused.status_code, refused.json()["field"]) == (422, "cursor")
    ranked = Api().get("/repositories?search=dates&limit=2").json()["next"]
    refused = Api().get(ranked.replace("search=dates", "sort=name"))
    assert (refused.status_code, refused.json()["field"]) == (422, "cursor")


def test_an_order_that_is_asked_for_is_kept(shelf):
    rows = Api().get("/repositories?search=dates&sort=name").json()["results"]
    assert [row["name"] for row in rows] == sorted(row["name"] for row in rows)
    assert len(rows) == len(found("dates"))
    rows = Api().get("/repositories?sort=relevance").json()["results"]
    assert len(rows) == Repository.objects.filter(visibility="public").count()


def test_without_entries_nothing_is_found_until_the_search_has_caught_up(shelf):
    before = found("dates")
    words = {row.pk: (row.names, row.words, row.card, row.counted) for row in SearchEntry.objects.all()}
    SearchEntry.objects.all().delete()
    assert found("dates") == []
    assert catching_up.enter_missing(lambda: True) == len(words)
    assert {row.pk: (row.names, row.words, row.card, row.counted) for row in SearchEntry.objects.all()} == words
    assert found("dates") == before
    assert catching_up.enter_missing(lambda: True) == 0


def test_catching_up_stops_and_goes_on(shelf, monkeypatch):
    monkeypatch.setattr(catching_up, "BATCH", 2)
    every = SearchEntry.objects.count()
    SearchEntry.objects.all().delete()
    asked = iter([True, True, False])
    assert catching_up.enter_missing(lambda: next(asked, False)) == 4
    assert catching_up.enter_missing(lambda: True) == every - 4


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Qwen2.5-0.5B", ["qwen2", "5", "0", "5b"]),
        ("ＦＵＬＬ　width Straße", ["full", "width", "strasse"]),
        ("naïve_café", ["naive", "cafe"]),
        ("a" * 100, ["a" * 60]),
        ("…", []),
    ],
)
def test_words(text, words):
    assert words_of(text) == words


def test_names_are_found_as_people_write_them():
    assert {"llama", "3", "llama3"} <= set(name_words("llama-3"))
    assert {"gpt2", "gpt", "2", "sql", "fix", "sqlfix"} <= set(name_words("gpt2-SqlFix"))


def test_an_organisation_and_a_base_are_found_with_what_is_theirs(people, base):
    factories.make_version(people.owner, "tones", namespace=people.lab)
    assert found("lab") == found("llama") == found("pico/llama") == ["tones"]


@pytest.mark.parametrize("search", ["dates", "calendra", "iso dates", "zebra"])
def test_a_search_opens_no_transaction_on_sqlite(shelf, search):
    """One would wait for whoever writes: SQLite's transactions take the lock of writers at their begin."""
    if connection.vendor != "sqlite":
        pytest.skip("PostgreSQL's readers wait for nobody")
    with CaptureQueriesContext(connection) as asked:
        Client().get("/", {"search": search})
    assert not [row["sql"] for row in asked.captured_queries if row["sql"].startswith(("SAVEPOINT", "BEGIN"))]


def test_words_of_private_repositories_are_not_told_by_what_is_corrected(shelf):
    """A stranger who made a near word asks for the other: corrected or not, a private name must change nothing."""
    factories.make_repository(shelf.owner, "zephyrine", namespace=shelf.lab, visibility="private")
    factories.make_repository(shelf.stranger, "zephyrinx")
    assert queries.corrected("zephyrine") == "zephyrinx"
    repositories.update_repository(
        actor=shelf.owner, repository=Repository.objects.get(name="zephyrine"), visibility="public"
    )
    assert queries.corrected("zephyrine") == ""


def test_what_others_hide_is_not_told_by_more(shelf, monkeypatch):
    for number in range(12):
        factories.make_repository(shelf.owner, f"hidden-tides-{number}", namespace=shelf.lab, visibility="private")
    factories.make_repository(shelf.owner, "tides")
    monkeypatch.setattr("hub.queries.finding.ranking.FEW", 10)
    for viewer, n in ((ANONYMOUS, 1), (Viewer(user=shelf.reader), 13)):
        ranking = queries.ranked(queries.repositories(viewer), "tides")
        assert (len(ranking.ids), ranking.more) == (n, False)


def test_a_repository_is_entered_as_it_is_under_its_lock(shelf):
    row = Repository.objects.get(name="calendar")
    with CaptureQueriesContext(connection) as asked:
        catalogue.enter(row)
    first = next(one["sql"] for one in asked.captured_queries if 'FROM "hub_repository"' in one["sql"])
    assert connection.vendor == "sqlite" or "FOR NO KEY UPDATE" in first
