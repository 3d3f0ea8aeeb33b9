"""`hubctl` with an adapter and a dataset of one name, against a served hub."""

import pytest

from hub.models import Repository
from tests.hub import factories
from tests.hubctl.conftest import write

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def rows(tmp_path):
    """A dataset's folder."""
    return write(tmp_path / "rows", factories.dataset_files(rows=3))


@pytest.fixture
def twins(hubctl, signed_in, base, adapter, rows):
    """`ada/twin` and `datasets/ada/twin`, both pushed under the bare name."""
    assert hubctl("push", adapter, "ada/twin").out.splitlines()[0] == "ada/twin@v1 pushed"
    pushed = hubctl("push", rows, "ada/twin", "--tag", "best")
    assert (pushed.code, pushed.out.splitlines()[0]) == (0, "datasets/ada/twin@v1 pushed"), pushed.err


def test_both_are_pulled_shown_listed_and_tagged(hubctl, twins, tmp_path):
    for path, kind, file in (
        ("ada/twin", "adapter", "adapter_config.json"),
        ("datasets/ada/twin", "dataset", "test.jsonl"),
    ):
        out = tmp_path / kind
        assert hubctl("pull", f"{path}@v1", "-o", out).code == 0
        assert (out / file).is_file()
        shown = hubctl("info", path, "--json").json
        assert (shown["repository"]["path"], shown["version"]["repository"]) == (path, path)
        assert shown["repository"]["kind"] == kind
        assert path in hubctl("list").out.split()
        assert hubctl("tag", f"{path}@v1", "good").out.strip() == f"{path}@good now points at v1"
        assert Repository.objects.get(name="twin", kind=kind).refs.filter(name="good").exists()
    assert not Repository.objects.get(name="twin", kind="adapter").refs.filter(name="best").exists()


def test_both_go_to_the_trash_and_come_back(hubctl, twins):
    for path in ("ada/twin", "datasets/ada/twin"):
        gone = hubctl("delete", path, "--yes")
        assert gone.out.strip() == f"{path} is in the trash; hubctl restore {path} brings it back"
    assert hubctl("restore", "datasets/ada/twin").out.strip() == "datasets/ada/twin is back"
    assert hubctl("info", "ada/twin", "--json").json["repository"]["kind"] == "dataset"
    assert hubctl("restore", "ada/twin").out.strip() == "ada/twin is back"
    assert hubctl("info", "ada/twin", "--json").json["repository"]["kind"] == "adapter"


def test_a_dataset_may_be_pushed_and_measured_on_by_either_name(hubctl, twins, rows):
    again = hubctl("dataset", "push", rows, "datasets/ada/twin")
    assert again.out.splitlines()[0] == "datasets/ada/twin: the hub holds exactly this already as v1"
    for name in ("ada/twin", "datasets/ada/twin"):
        queued = hubctl("eval", "ada/twin", "--dataset", name, "--json")
        assert queued.code == 0, queued.err
        assert queued.json["datasets"] == ["datasets/ada/twin@v1"]


def test_a_push_of_the_other_kind_to_a_datasets_path_is_refused(hubctl, twins, adapter):
    refused = hubctl("push", adapter, "datasets/ada/other", "--kind", "adapter")
    assert refused.code == 1 and "push it to ada/other" in refused.err
    for name in ("datasets/ada", "datasets/a/b/c"):
        assert "with datasets/ before a dataset" in hubctl("info", name).err
