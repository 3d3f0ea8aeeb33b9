"""A model and a dataset of one name: each is found by its path, a bare name means the model, and neither tells of the
other."""

import pytest

from hub import access, queries
from hub.access import ANONYMOUS, Viewer
from hub.errors import NotFound, NotSignedIn, PermissionDenied
from hub.http.job_serializers import Sight
from hub.models import Event, Job, Repository, Visibility, Webhook
from hub.names import split_path
from hub.services import repositories
from tests.hub import asking, factories
from tests.hub.api_client import Api

pytestmark = pytest.mark.django_db
MAKE = {"visibility": "public"}


@pytest.fixture
def pair(people, base):
    """Two versions to merge."""
    return [factories.make_version(people.owner, name, base=base, seed=seed) for seed, name in enumerate("ab")]


def hide(*rows: Repository) -> None:
    Repository.objects.filter(pk__in=[row.pk for row in rows]).update(visibility=Visibility.PRIVATE)


@pytest.mark.parametrize(
    ("path", "parts"),
    [
        ("lab/x", ("lab", "x")),
        ("datasets/lab/x", ("datasets/lab", "x")),
        ("x", ("", "x")),
        ("datasets/x", ("", "datasets/x")),
        ("lab/x/y", ("lab", "x/y")),
        ("datasets/datasets/lab/x", ("datasets/datasets", "lab/x")),
        ("/x", ("", "x")),
    ],
)
def test_a_path_has_a_place_and_a_name(path, parts):
    assert split_path(path) == parts


def test_within_a_namespace_a_name_alone_will_do():
    assert [split_path(path, "lab") for path in ("x", "datasets/x", "own/x", "datasets/own/x")] == [
        ("lab", "x"),
        ("datasets/lab", "x"),
        ("own", "x"),
        ("datasets/own", "x"),
    ]


class TestLookUp:
    def test_each_by_its_path_and_a_bare_name_means_the_model(self, twins):
        model, data = twins
        assert (model.path, data.path, model.full_name) == ("lab/twin", "datasets/lab/twin", data.full_name)
        assert access.repository(ANONYMOUS, "lab", "twin") == model
        assert access.repository(ANONYMOUS, "datasets/LAB", "Twin") == data
        assert access.repository(ANONYMOUS, "lab", "twin", kind="dataset") == data
        assert access.repository(ANONYMOUS, "lab", "twin", kind="adapter") == model
        for place, kind in (("datasets/lab", "adapter"), ("lab", "generator")):
            with pytest.raises(NotFound):
                access.repository(ANONYMOUS, place, "twin", kind=kind)

    def test_a_bare_name_without_a_model_is_the_datasets(self, twin_data):
        assert access.repository(ANONYMOUS, "lab", "twin") == twin_data
        assert str(access.parse_input(ANONYMOUS, "lab/twin@v1")) == "datasets/lab/twin@v1"
        with pytest.raises(NotFound):
            access.repository(ANONYMOUS, "lab", "twin", exact=True)

    def test_a_private_model_neither_hides_a_public_dataset_nor_is_told_of(self, people, twins):
        model, data = twins
        hide(model)
        for viewer in (ANONYMOUS, Viewer(user=people.stranger)):
            assert access.repository(viewer, "lab", "twin") == data
            with pytest.raises(PermissionDenied if viewer.user else NotSignedIn):
                access.repository(viewer, "lab", "twin", "write")
        assert access.repository(Viewer(user=people.reader), "lab", "twin") == model

    def test_a_private_dataset_beside_a_public_model_answers_as_none(self, people, twins):
        hide(twins[1])
        said = []
        for name in ("twin", "none"):
            with pytest.raises(NotFound) as refusal:
                access.repository(Viewer(user=people.stranger), "datasets/lab", name)
            said.append(refusal.value.message.replace(name, "NAME"))
        assert said[0] == said[1]

    def test_what_was_a_models_name_changes_no_dataset(self, people, twins):
        """A request that is sent twice, because its answer was lost, does what it did and nothing to the other."""
        api, (_, data) = Api(people.owner), twins
        assert api.delete("/repositories/lab/twin").status_code == 204
        again = api.delete("/repositories/lab/twin")
        assert again.status_code == 404 and "datasets/lab/twin" in again.json()["detail"]
        assert api.delete("/repositories/datasets/lab/twin").status_code == 204
        assert [api.post("/repositories/lab/twin/restore").status_code for _ in range(2)] == [200, 404]
        assert [api.delete("/repositories/lab/twin").status_code for _ in range(2)] == [204, 404]
        assert api.post("/repositories/datasets/lab/twin/restore").status_code == 200
        assert api.post("/repositories/lab/twin/purge").status_code == 204
        repositories.delete_repository(actor=people.owner, repository=data)
        assert api.post("/repositories/lab/twin/purge").status_code == 404
        assert Repository.objects.filter(pk=data.pk, purged_at=None).exists()
        assert api.post("/repositories/datasets/lab/twin/purge").status_code == 204


class TestNames:
    def test_each_name_space_has_a_name_once(self, people, twins):
        api = Api(people.owner)
        for kind, taken in (("dataset", "datasets/lab/Twin"), ("adapter", "lab/Twin"), ("generator", "lab/Twin")):
            refused = api.post("/repositories", {"namespace": "lab", "name": "TWIN", "kind": kind})
            assert refused.status_code == 409 and f"{taken.lower()} exists" in refused.json()["detail"].lower()

    def test_a_push_goes_to_its_own_kind(self, people, base):
        api = Api(people.owner)
        files, rows = factories.adapter_files(), factories.dataset_files()
        begun = api.begin("lab/new", rows, make={**MAKE, "kind": "dataset"}).json()
        assert begun["repository"] == "datasets/lab/new"
        api.push("lab/new", rows, make={**MAKE, "kind": "dataset"})
        api.push("lab/new", files, make={**MAKE, "kind": "adapter"})
        api.push("datasets/lab/more", rows, make=MAKE)
        made = Repository.objects.filter(name__in=("new", "more")).order_by("pk")
        assert [row.path for row in made] == ["datasets/lab/new", "lab/new", "datasets/lab/more"]
        wrong = api.begin("datasets/lab/more", files, make={**MAKE, "kind": "adapter"})
        assert (wrong.status_code, wrong.json()["field"]) == (422, "kind")
        assert "push it to lab/more" in wrong.json()["detail"]

    def test_one_that_the_other_kind_has_in_the_trash_is_free(self, people, twin_model):
        repositories.delete_repository(actor=people.owner, repository=twin_model)
        made = Api(people.owner).push("lab/twin", factories.dataset_files(), make={**MAKE, "kind": "dataset"})
        assert made["version"] == "v1"


class TestRest:
    def test_both_under_one_name(self, people, twins):
        api = Api(people.owner)
        for path, kind, file in (
            ("lab/twin", "adapter", "adapter_config.json"),
            ("datasets/lab/twin", "dataset", "test.jsonl"),
        ):
            shown = api.get(f"/repositories/{path}").json()
            assert (shown["full_name"], shown["path"], shown["kind"]) == ("lab/twin", path, kind)
            assert api.get(f"/repositories/{path}/versions/v1").json()["repository"] == path
            files = api.get(f"/repositories/{path}/files/v1").json()["files"]
            assert file in {row["path"] for row in files}
            assert api.get(f"/repositories/{path}/files/v1/{file}").status_code == 200
            assert api.put(f"/repositories/{path}/tags/best", {"ref": "v1"}).status_code == 200
            assert api("PATCH", f"/repositories/{path}", {"description": kind}).json()["path"] == path
            rule = api.put(f"/repositories/{path}/protections/best").json()
            assert rule["repository"] == path
        listed = api.get("/repositories?search=twin").json()["results"]
        assert {row["path"]: row["description"] for row in listed} == {
            "lab/twin": "adapter",
            "datasets/lab/twin": "dataset",
        }

    def test_a_bare_name_does_for_a_dataset_alone(self, people, twin_data):
        api = Api(people.owner)
        assert api.get("/repositories/lab/twin").json()["path"] == "datasets/lab/twin"
        assert api.get("/repositories/lab/twin/files/v1/test.jsonl").status_code == 200
        assert api.delete("/repositories/lab/twin").status_code == 204
        assert api.post("/repositories/lab/twin/restore").json()["path"] == "datasets/lab/twin"

    def test_a_trash_of_both(self, people, twins):
        api = Api(people.owner)
        for path in ("datasets/lab/twin", "lab/twin"):
            assert api.delete(f"/repositories/{path}").status_code == 204
        assert {row["path"] for row in api.get("/trash").json()["results"]} == {"lab/twin", "datasets/lab/twin"}
        assert api.post("/repositories/datasets/lab/twin/restore").json()["kind"] == "dataset"
        assert api.get("/repositories/lab/twin").json()["kind"] == "dataset"
        assert api.post("/repositories/lab/twin/restore").json()["kind"] == "adapter"
        assert api.get("/repositories/lab/twin").json()["kind"] == "adapter"

    def test_a_token_of_one_is_a_stranger_to_the_other(self, people, twins):
        hide(*twins)
        made = Api(people.owner).post("/tokens", {"name": "t", "scopes": ["admin"], "repository": "datasets/lab/twin"})
        assert made.status_code == 201, made.content
        api = Api(secret=made.json()["token"])
        assert api.get("/repositories/datasets/lab/twin").status_code == 200
        assert api.get("/repositories/lab/twin").json()["path"] == "datasets/lab/twin"
        assert api.get("/repositories/lab/twin/files/v1/adapter_config.json").status_code == 404
        shown = Api(people.owner).get("/tokens").json()
        rows = shown["results"] if isinstance(shown, dict) else shown
        assert "datasets/lab/twin" in {row["repository"] for row in rows}

    def test_webhooks_and_events_tell_which(self, people, twins):
        api = Api(people.owner)
        for name, path in (("twin", "lab/twin"), ("datasets/twin", "datasets/lab/twin")):
            body = {"url": "https://ci.example.org/hub", "repository": name}
            made = api.post("/namespaces/lab/webhooks", body)
            assert made.status_code == 201, made.content
            assert made.json()["repository"] == path
        assert {row.repository for row in Webhook.objects.all()} == set(twins)
        assert {row["repository"] for row in api.get("/repositories/datasets/lab/twin/events").json()["results"]} == {
            "datasets/lab/twin"
        }
        assert Event.objects.filter(verb="publish", object="datasets/lab/twin").exists()


class TestJobs:
    @pytest.mark.parametrize("name", ["lab/twin", "datasets/lab/twin", "lab/twin@v1", "datasets/lab/twin@v1"])
    def test_a_dataset_is_meant_where_one_is_asked_for(self, people, twins, name):
        body = {"kind": "evaluate", "inputs": ["lab/twin"], "datasets": [name], "recipe": {}}
        made = Api(people.owner).post("/jobs", body)
        assert made.status_code == 201, made.content
        assert (made.json()["inputs"], made.json()["datasets"]) == (["lab/twin@v1"], ["datasets/lab/twin@v1"])

    def test_a_merge_means_models(self, people, twins, base):
        factories.make_version(people.owner, "b", base=base, seed=2)
        body = {"kind": "lego", "inputs": ["lab/twin", "owner/b"], "recipe": {"rank": 2}}
        made = Api(people.owner).post("/jobs", {**body, "output": "lab/twin"})
        assert made.status_code == 201, made.content
        refused = Api(people.owner).post("/jobs", {**body, "output": "datasets/lab/twin"})
        assert (refused.status_code, refused.json()["field"]) == (422, "output")

    def test_a_result_of_a_datasets_name_is_a_model_beside_it(self, people, twin_data, pair):
        job = asking.queue_job(actor=people.owner, kind="lego", recipe={"rank": 2}, inputs=pair, output=("lab", "twin"))
        assert Event.objects.filter(object=f"job {job.pk}", repository=None).exists()
        made = factories.make_repository(people.owner, "twin", namespace=people.lab)
        assert Event.objects.get(object=f"job {job.pk}").repository == made

    def test_a_token_of_a_dataset_watches_no_job_that_makes_its_namesake(self, people, twin_data, pair):
        job = asking.queue_job(actor=people.owner, kind="lego", recipe={"rank": 2}, inputs=pair, output=("lab", "twin"))
        limit = access.viewer_of_job(Job(created_by=people.owner, limit_repository=twin_data.pk)).limit
        assert not Job.objects.filter(limit.jobs(), pk=job.pk).exists()


class TestHidden:
    """One of the two is private: texts name the other as before."""

    @pytest.mark.parametrize(
        ("which", "said"),
        [(0, "datasets/lab/twin@v1 on (hidden)@v1"), (1, "(hidden)@v1 on lab/twin@v1")],
    )
    def test_a_text_about_a_job_leaves_out_the_hidden_one(self, people, twins, which, said):
        model, data = twins
        asked = {"inputs": [model.versions.get()], "datasets": [data.versions.get()]}
        job = asking.queue_job(actor=people.owner, kind="evaluate", recipe={}, **asked)
        hide(twins[which])
        sight = Sight(Viewer(user=people.stranger), [job])
        assert sight.tell(job, "datasets/lab/twin@v1 on lab/twin@v1") == said

    def test_a_hidden_dataset_is_left_out_by_the_name_that_old_texts_have(self, people, twin_data, pair):
        asked = {"inputs": pair[:1], "datasets": [twin_data.versions.get()]}
        job = asking.queue_job(actor=people.owner, kind="evaluate", recipe={}, **asked)
        hide(twin_data)
        told = Sight(Viewer(user=people.stranger), [job]).tell(job, "lab/twin@v1 and datasets/lab/twin@v1")
        assert told == "(hidden)@v1 and (hidden)@v1"

    def test_an_event_names_a_dataset_as_it_is_now_or_as_it_was(self, people, twins):
        names = {"lab/twin", "datasets/lab/twin", "datasets/lab/none", "none"}
        viewer = Viewer(user=people.stranger)
        assert queries.datasets_seen(viewer, names) == {"lab/twin", "datasets/lab/twin"}
        hide(twins[1])
        assert queries.datasets_seen(viewer, names) == set()
