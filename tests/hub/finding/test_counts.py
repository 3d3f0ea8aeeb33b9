"""The kept counts of facets are those that counting from scratch gives, whatever happened, and for whoever asks."""

import random
from collections import Counter
from types import SimpleNamespace

import pytest
from django.test import Client

from hub import queries
from hub.access import ANONYMOUS, Viewer, visible
from hub.models import FacetChange, FacetCount, Kind, Repository, RepositoryTag
from hub.queries.finding import counting
from hub.services import repositories
from hub.services.catalogue import counts
from hub.services.repositories.moving import move_repository
from hub.services.upkeep.purge import purge_repository
from tests.hub import factories

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("store")]
COLUMNS = {
    "base": "base__name",
    "peft_type": "peft_type",
    "rank": "rank",
    "license": "license",
    "origin": "origin",
    "owner": "namespace__name",
}


def counted(viewer: Viewer, kind: str = "adapter", **filters) -> dict[str, dict[str, int]]:
    """Facet → value → n, as it is shown; the total stands under ""."""
    found = queries.facets(viewer, kind=kind, **filters)
    shown = {name: {value: count.n for value, count in values.items()} for name, values in found.values.items()}
    return shown | {"": {"": found.total.n}}


def from_scratch(viewer: Viewer, kind: str = "adapter", **filters) -> dict[str, dict[str, int]]:
    rows = Repository.objects.filter(visible(viewer), kind=kind, **filters)
    said = {name: Counter(rows.values_list(column, flat=True)) for name, column in COLUMNS.items()}
    said["tag"] = Counter(RepositoryTag.objects.filter(repository__in=rows).values_list("name", flat=True))
    plain = {name: {str(value): n for value, n in found.items() if value} for name, found in said.items()}
    return plain | {"": {"": rows.count()}}


def agree(people: SimpleNamespace) -> None:
    for viewer in (ANONYMOUS, Viewer(user=people.stranger), Viewer(user=people.reader), Viewer(user=people.owner)):
        for kind in Kind.values:
            assert counted(viewer, kind) == from_scratch(viewer, kind)


def act(draw: random.Random, people: SimpleNamespace, number: int) -> None:
    """One of what may happen to a repository."""
    owner, living = people.owner, list(Repository.objects.filter(deleted_at=None).order_by("pk"))
    row, step = draw.choice(living), draw.randrange(7)
    if step == 0:
        kind = draw.choice(Kind.values)
        visibility = draw.choice(["public", "private"])
        factories.make_repository(owner, f"r{number}", namespace=people.lab, kind=kind, visibility=visibility)
    elif step == 1 and row.kind == Kind.ADAPTER:
        tags = f"{draw.choice('abc')}, {draw.choice('xyz')}"
        card = f"---\nlicense: {draw.choice(['mit', 'apache-2.0'])}\ntags: [{tags}]\n---\n"
        factories.publish(owner, row, factories.adapter_files(rank=draw.choice((2, 4)), seed=number, card=card))
    elif step == 2:
        visibility = draw.choice(["public", "private"])
        repositories.update_repository(actor=owner, repository=row, visibility=visibility)
    elif step == 3 and len(living) > 3:
        repositories.delete_repository(actor=owner, repository=row)
    elif step == 4 and (gone := Repository.objects.exclude(deleted_at=None).filter(purged_at=None).first()):
        repositories.restore_repository(actor=owner, repository=gone)
    elif step == 5 and (gone := Repository.objects.exclude(deleted_at=None).filter(purged_at=None).last()):
        purge_repository(actor=owner, repository=gone)
    elif step == 6:
        place = draw.choice([people.lab, owner.namespace])
        move_repository(actor=Viewer(user=owner), repository=row, namespace=place, name=f"moved{number}")


@pytest.mark.parametrize("seed", range(3))
def test_whatever_happens_the_counts_are_right(people, base, seed):
    draw = random.Random(seed)
    for number in range(5):
        factories.make_version(people.owner, f"first{number}", seed=number, card="---\ntags: [a]\n---\n")
    for number in range(30):
        act(draw, people, number)
        if number % 6 == 5:
            agree(people)
        if draw.random() < 0.2:
            counts.add_up()
    agree(people)
    counts.add_up()
    agree(people)
    assert not FacetChange.objects.exists()
    assert not FacetCount.objects.filter(n__lte=0).exists()


def test_changes_are_added_up_by_and_by(people, base, django_capture_on_commit_callbacks, monkeypatch):
    monkeypatch.setattr(counts, "OFTEN", 20)
    with django_capture_on_commit_callbacks(execute=True):
        for number in range(12):
            factories.make_repository(people.owner, f"r{number}")
    assert FacetChange.objects.count() < 20
    assert counted(ANONYMOUS)["owner"] == {"owner": 12}


@pytest.fixture
def shelf(people, base) -> SimpleNamespace:
    """Ranks 2, 4, 4 and 8; tags a, a, b and b."""
    for number, (rank, tag) in enumerate([(2, "a"), (4, "a"), (4, "b"), (8, "b")]):
        factories.make_version(people.owner, f"r{number}", rank=rank, seed=number, card=f"---\ntags: [{tag}]\n---\n")
    return people


def test_a_filter_narrows_the_other_facets_and_not_itself(shelf):
    found = counted(ANONYMOUS, rank=["4"])
    assert found["rank"] == {"2": 1, "4": 2, "8": 1}
    assert found["tag"] == {"a": 1, "b": 1}
    assert found[""] == {"": 2}
    found = counted(ANONYMOUS, rank=["4"], tag=["a"])
    assert found["rank"] == {"2": 1, "4": 1}
    assert found["tag"] == {"a": 1, "b": 1}
    assert found["owner"] == {"owner": 1}


def test_several_values_of_a_facet_are_one_or_the_other(shelf):
    found = counted(ANONYMOUS, rank=["2", "8"])
    assert found[""] == {"": 2}
    assert found["tag"] == {"a": 1, "b": 1}
    response = Client().get("/?rank=2&rank=8&sort=name")
    assert [row.name for row in response.context["repositories"]] == ["r0", "r3"]
    ranks = next(group for group in response.context["facets"] if group["name"] == "rank")["values"]
    assert [(row["value"], row["n"], row["on"]) for row in ranks] == [("2", 1, True), ("4", 2, False), ("8", 1, True)]
    assert [row.name for row in Client().get("/" + ranks[0]["link"]).context["repositories"]] == ["r3"]
    more = Client().get("/" + ranks[1]["link"]).context["repositories"]
    assert {row.name for row in more} == {"r0", "r1", "r2", "r3"}


def test_a_value_that_nothing_has_any_more_can_be_taken_out(shelf):
    response = Client().get("/?rank=64")
    assert response.context["repositories"] == []
    ranks = next(group for group in response.context["facets"] if group["name"] == "rank")["values"]
    assert ("64", 0, True) in [(row["value"], row["n"], row["on"]) for row in ranks]


def test_beyond_the_bound_a_count_says_at_least(shelf, monkeypatch):
    monkeypatch.setattr(counting, "MOST", 3)
    found = queries.facets(ANONYMOUS, kind="adapter", search="owner")
    assert (found.total.n, found.total.least) == (3, True)
    assert all(count.least for count in found.values["rank"].values())
    assert "3+ found" in Client().get("/?search=owner").content.decode()
    exact = queries.facets(ANONYMOUS, kind="adapter", rank=["4"])
    assert (exact.total.n, exact.total.least) == (2, False)
    kept = queries.facets(ANONYMOUS, kind="adapter")
    assert (kept.total.n, kept.total.least) == (4, False)


def test_what_is_private_is_counted_for_members_alone(shelf):
    factories.make_version(shelf.owner, "secret", namespace=shelf.lab, visibility="private", rank=6, seed=9)
    for viewer, n in ((Viewer(user=shelf.reader), 5), (Viewer(user=shelf.stranger), 4), (ANONYMOUS, 4)):
        found = counted(viewer)
        assert found[""] == {"": n}
        assert ("6" in found["rank"]) == (n == 5)
        assert ("lab" in counted(viewer, search="pico")["owner"]) == (n == 5)
