"""A limited token is a stranger outside its limit, at every door and at every later moment; it makes no wider one.

What one route answers to whom stands in the roles matrix; here is what the answers hold. Jobs: `test_token_jobs`.
"""

import pytest

from hub import access, queries
from hub.access import Viewer
from hub.access.limits import Limit
from hub.errors import NotFound, PermissionDenied
from hub.models import Namespace, Parentage, Repository, Version, Visibility
from hub.services import tokens
from tests.attack.places import EVERYTHING, limit_behind
from tests.hub import factories
from tests.hub.api_client import Api, problem
from tests.hub.route_rules import API_ROWS
from tests.hub.test_routes import address, make_world

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("store")]


def names_in(answer) -> set[str]:
    return {name for name in ("lab/a", "lab/b", "den/c", "lab/shown") if name in answer.content.decode()}


@pytest.mark.parametrize(
    ("limit", "seen"),
    [
        ({}, {"lab/a", "lab/b", "den/c", "lab/shown"}),
        ({"namespace": "lab"}, {"lab/a", "lab/b", "lab/shown"}),
        ({"namespace": "DEN"}, {"den/c", "lab/shown"}),
        ({"repository": "Lab/A"}, {"lab/a", "lab/shown"}),
        ({"repository": "lab/shown"}, {"lab/shown"}),
    ],
)
def test_a_token_sees_its_limit_and_what_is_public(places, limit, seen):
    api = places.token(**limit)
    assert names_in(api.get("/repositories?limit=50")) == seen
    for name in ("lab/a", "lab/b", "den/c", "lab/shown"):
        status = 200 if name in seen else 404
        assert api.get(f"/repositories/{name}").status_code == status
        assert api.get(f"/repositories/{name}/files/v1/adapter_config.json").status_code == status
    adapters = dict(queries.bases(Viewer(user=places.owner, limit=limit_behind(api))).values_list("name", "adapters"))
    assert adapters["pico/llama"] == len(seen)


def test_what_a_limited_token_may_not_change_is_refused_with_its_limit(places):
    api = places.token(namespace="den")
    refusal = problem(api("PATCH", "/repositories/lab/shown", {"description": "d"}), 403, "token_limit")
    assert "limited to den" in refusal["detail"]
    assert api("PATCH", "/repositories/lab/a", {"description": "d"}).status_code == 404
    assert api("PATCH", "/repositories/den/c", {"description": "d"}).status_code == 200
    # The advice of the refusal about accounts is to use a token without a limit.
    refusal = problem(api.post("/organisations", {"name": "guild"}), 403, "token_limit")
    assert "Use a token without a limit" in refusal["detail"]
    assert places.token().post("/organisations", {"name": "guild"}).status_code == 201


def test_a_limited_token_publishes_nothing_that_was_made_of_what_is_outside(places):
    """Its user is an admin of both repositories; the token is one of the result alone."""
    parent = Version.objects.get(repository__name="a")
    made = factories.make_version(places.owner, "made", namespace=places.lab, seed=7, visibility=Visibility.PRIVATE)
    Parentage.objects.create(child=made, parent=parent)
    narrow = places.token(repository="lab/made")
    refusal = problem(narrow("PATCH", "/repositories/lab/made", {"visibility": "public"}), 403, "parent_is_private")
    assert "lab/a" not in refusal["detail"]
    wide = places.token(namespace="lab")
    assert wide("PATCH", "/repositories/lab/made", {"visibility": "public"}).status_code == 200


def test_a_refusal_does_not_name_what_its_user_can_not_see_any_more(places):
    api = places.token(repository="lab/a")
    places.lab.memberships.filter(user=places.owner).delete()
    Repository.objects.filter(name="a").update(name="renamed")
    refusal = problem(api("PATCH", "/repositories/lab/shown", {"description": "d"}), 403, "token_limit")
    assert "renamed" not in refusal["detail"] and "can't see any more" in refusal["detail"]
    assert "renamed" not in api.get("/me").content.decode()


def test_no_read_tells_a_limited_token_of_another_repository(store):
    """Every GET of the API with a token of `lab/other`: none names `lab/secret`, which the world is full of."""
    world = make_world()
    secret = tokens.create_token(actor=world.owner, name="t", scopes=EVERYTHING, repository="lab/other")[1]
    api = Api(secret=secret)
    for rule in API_ROWS:
        if rule.method == "GET" and rule.route != "api/v1/schema":
            url = address(rule.route, rule.to, world) + (f"?{rule.query}" if rule.query else "")
            answer = api.http.get(url, headers=api.headers)
            assert answer.status_code >= 400 or b"lab/secret" not in answer.content, url


def test_a_token_for_downloads_fetches_files_and_nothing_else(places):
    api = places.token(["download"], repository="lab/a")
    assert api.get("/repositories/lab/a/files/v1").status_code == 200
    assert api.get("/repositories/lab/a/files/v1/adapter_config.json").status_code == 200
    assert api.get("/repositories/lab/shown/files/v1/adapter_config.json").status_code == 200
    for hidden in ("lab/b", "den/c"):
        assert api.get(f"/repositories/{hidden}/files/v1/adapter_config.json").status_code == 404
    assert api.get("/repositories/lab/a").status_code == 403
    me = api.get("/me").json()
    assert (me["email"], me["namespaces"], me["token"]["repository"]) == ("", [], "lab/a")
    viewer = Viewer(user=places.owner, scopes=frozenset({"download"}))
    assert not Repository.objects.filter(access.visible(viewer), visibility=Visibility.PRIVATE).exists()
    with pytest.raises(NotFound):
        access.repository(viewer, "lab", "a")


def test_me_and_lists_show_the_limit(places):
    for limit in ({"namespace": "lab"}, {"repository": "lab/a"}):
        told = places.token(**limit).get("/me").json()
        shown = {name: told["token"][name] for name in ("namespace", "repository") if told["token"][name]}
        assert shown == limit and [row["name"] for row in told["namespaces"]] == ["lab"]
    listed = places.token().get("/tokens").json()["results"]
    assert [row["repository"] for row in listed] == [None, "lab/a", None]
    places.lab.memberships.filter(user=places.owner).delete()
    listed = places.token().get("/tokens").json()["results"]
    assert listed[2]["repository"] == "(hidden)", "It may have another name by now."


@pytest.mark.parametrize(
    ("own", "asked", "status"),
    [
        ({"namespace": "lab"}, {}, 403),
        ({"namespace": "lab"}, {"namespace": "den"}, 403),
        ({"namespace": "lab"}, {"repository": "den/c"}, 404),
        ({"namespace": "lab"}, {"repository": "lab/shown"}, 201),
        ({"namespace": "lab"}, {"namespace": "lab"}, 201),
        ({"repository": "lab/a"}, {"namespace": "lab"}, 403),
        ({"repository": "lab/a"}, {"repository": "lab/shown"}, 403),
        ({"repository": "lab/a"}, {"repository": "lab/a"}, 201),
        ({}, {"namespace": "lab", "repository": "lab/a"}, 422),
        ({}, {"namespace": "no-such"}, 404),
        ({}, {"repository": "lab"}, 422),
    ],
)
def test_a_token_makes_none_that_is_wider(places, own, asked, status):
    made = places.token(**own).post("/tokens", {"name": "x", "scopes": ["read"], **asked})
    assert made.status_code == status, made.content


def test_a_namespace_one_does_not_belong_to_is_no_limit(places, people):
    answer = Api(people.stranger).post("/tokens", {"name": "x", "namespace": "lab"})
    assert answer.status_code == 404


def test_no_scope_is_gained_by_making_a_token(places):
    viewer = Viewer(user=places.owner, scopes=frozenset({"write"}))
    with pytest.raises(PermissionDenied):
        tokens.create_token(actor=viewer, name="x", scopes=["admin"])
    assert tokens.create_token(actor=viewer, name="x", scopes=["read", "download"])


def test_a_limited_administrator_of_the_site_is_none(places):
    places.owner.is_staff = True
    every = {"user": places.owner, "scopes": frozenset(EVERYTHING)}
    assert Viewer(**every).is_site_admin
    limited = Viewer(**every, limit=Limit(namespace=places.lab.pk, name="lab"))
    assert not limited.is_site_admin
    with pytest.raises(PermissionDenied, match="limited to lab"):
        access.require_site_admin(limited)


@pytest.mark.parametrize("limit", [{"repository": "lab/empty"}, {"namespace": "guild"}])
def test_a_token_whose_limit_is_gone_is_dead(places, limit):
    """For good, which is more than the trash."""
    factories.make_organisation("guild", admin=places.owner)
    factories.make_repository(places.owner, "empty", namespace=places.lab)
    api = places.token(**limit)
    assert api.get("/me").status_code == 200
    Repository.objects.get(name="empty").delete()
    Namespace.objects.get(name="guild").delete()
    assert api.get("/me").status_code == 401


def test_in_the_trash_it_sees_nothing_private_and_may_restore(places):
    api = places.token(repository="lab/a")
    assert api.delete("/repositories/lab/a").status_code == 204
    assert api.get("/repositories/lab/a").status_code == 404
    assert names_in(api.get("/trash")) == {"lab/a"}
    assert api.post("/repositories/lab/a/restore").status_code == 200


def test_a_limit_follows_its_repository(places):
    """To another name and another namespace: a token of the repository goes along, one of the namespace does not."""
    limits = ({"repository": "lab/a"}, {"namespace": "lab"}, {"namespace": "den"})
    of_it, of_lab, of_den = (places.token(**limit) for limit in limits)
    Repository.objects.filter(name="a").update(namespace=places.den, name="moved")
    assert [api.get("/repositories/den/moved").status_code for api in (of_it, of_lab, of_den)] == [200, 404, 200]
    places.den.memberships.filter(user=places.owner).delete()
    assert of_it.get("/repositories/den/moved").status_code == 404
