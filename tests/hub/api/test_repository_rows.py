"""A list made of columns says what the serializer of the schema says of the same rows."""

import pytest
from rest_framework import serializers
from rest_framework.renderers import JSONRenderer

from hub import queries
from hub.access import ANONYMOUS, Viewer
from hub.api.repository_rows import columns, show
from hub.api.views.repositories import RepositoryShape
from hub.models import Repository
from tests.hub import factories
from tests.hub.api_client import Api

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("store")]


class Slowly(RepositoryShape):
    """The same with queries for each row."""

    tags = serializers.SerializerMethodField()

    def get_tags(self, row):
        return sorted(tag.name for tag in row.tags.all())

    def get_latest(self, row):
        newest = row.versions.order_by("-number").first()
        return newest and newest.label

    def get_at(self, row):
        return None


@pytest.fixture
def shelf(people, base):
    factories.make_version(people.owner, "two", rank=2, card="---\nlicense: mit\ntags: [b, a]\n---\n# x\n")
    factories.publish(people.owner, Repository.objects.get(name="two"), factories.adapter_files(seed=5))
    factories.make_repository(people.owner, "data", namespace=people.lab, kind="dataset", description="Sums")
    factories.make_repository(people.owner, "hidden", namespace=people.lab, visibility="private")
    factories.make_generator(people.owner, "gen")
    return people


def test_columns_say_what_the_schema_says(shelf):
    rows = list(Repository.objects.order_by("pk"))
    said = JSONRenderer().render(Slowly(rows, many=True).data)
    assert JSONRenderer().render(show(rows)) == said
    assert JSONRenderer().render(show(list(columns(Repository.objects.order_by("pk"))))) == said
    assert show([]) == []


def test_every_door_shows_a_repository_alike(shelf):
    api = Api(shelf.owner)
    for row in api.get("/repositories").json()["results"]:
        assert api.get(f"/repositories/{row['path']}").json() == row
        assert row in api.get(f"/repositories?search={row['name']}").json()["results"]
    api.delete("/repositories/lab/hidden")
    gone = api.get("/trash").json()["results"]
    assert [(row["name"], row["deleted_at"] is None) for row in gone] == [("hidden", False)]


def test_a_list_needs_two_queries(shelf, django_assert_num_queries):
    for viewer in (ANONYMOUS, Viewer(user=shelf.stranger)):
        found = queries.repositories(viewer)
        with django_assert_num_queries(2):
            show(list(columns(found)))
