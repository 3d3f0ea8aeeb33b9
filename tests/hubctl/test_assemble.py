"""`hubctl assemble`: the hub's methods as commands, data by adapter or as one text, from the hub or from files here."""

import json

import pytest

from hub.models import Job, Repository
from hubctl.errors import Refused
from hubctl.options.data_option import paired
from tests.hub import factories

pytestmark = pytest.mark.django_db(transaction=True)
NAMES = ("ada/one@v1", "ada/two")


@pytest.fixture
def pair(ada):
    base = factories.make_base()
    return [factories.make_version(ada, name, base=base, seed=seed) for name, seed in (("one", 1), ("two", 2))]


@pytest.fixture
def file(tmp_path):
    rows = [{"prompt": f"What is {n}?", "completion": str(n)} for n in range(6)]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def datasets_of(job: dict) -> list[str]:
    return [str(row.version) for row in Job.objects.get(pk=job["id"]).inputs.filter(role="dataset")]


@pytest.mark.parametrize("kind", ["meteora", "smora"])
def test_its_options_come_from_the_hub(hubctl, served, kind):
    assert kind in hubctl("assemble", "--help").out
    shown = hubctl("assemble", kind, "--help").out
    assert "--data" in shown and "--train" in shown


def test_files_become_private_datasets_in_the_adapters_order(hubctl, signed_in, pair, file):
    given = ["--data", f"two={file}", "--data", f"ada/one={file}", "--to", "ada/mix", "--json"]
    queued = hubctl("assemble", "meteora", *NAMES, *given)
    assert queued.code == 0, queued.err
    assert datasets_of(queued.json) == ["datasets/ada/mix-one-data@v1", "datasets/ada/mix-two-data@v1"]
    assert {row.visibility for row in Repository.objects.filter(kind="dataset")} == {"private"}


def test_a_mixed_text_may_be_a_dataset_of_the_hub(hubctl, signed_in, pair, ada):
    repository = factories.make_repository(ada, "text", kind="dataset")
    factories.publish(ada, repository, factories.dataset_files(rows=6))
    queued = hubctl("assemble", "smora", *NAMES, "--data", "ada/text", "--split", "test", "--to", "ada/mix", "--json")
    assert queued.code == 0, queued.err
    assert datasets_of(queued.json) == ["datasets/ada/text@v1"]


def test_check_says_what_is_missing_and_starts_nothing(hubctl, signed_in, pair):
    checked = hubctl("assemble", "meteora", *NAMES, "--to", "ada/mix", "--check")
    assert checked.code == 1
    assert "train=prototype" in checked.out
    assert not Job.objects.exists()


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (("three=x.jsonl",), "is not one of the adapters"),
        (("one=x.jsonl",), "no --data for ada/two"),
        (("one=x.jsonl", "ada/one=y.jsonl"), "given twice"),
        (("one=x.jsonl", "two=y.jsonl", "z.jsonl"), "not both"),
    ],
)
def test_data_that_fits_no_adapter_is_refused(data, says):
    with pytest.raises(Refused, match=says):
        paired(NAMES, data)


def test_adapters_of_one_short_name_are_told_apart_by_their_whole_name():
    names = ("ada/one", "bob/one")
    with pytest.raises(Refused, match="names several"):
        paired(names, ("one=x",))
    assert paired(names, ("bob/one=b", "ada/one=a")) == [("ada/one", "a"), ("bob/one", "b")]


def test_a_file_that_is_not_here_is_said_so(hubctl, signed_in, pair):
    refused = hubctl("assemble", "smora", *NAMES, "--data", "nowhere.jsonl", "--to", "ada/mix")
    assert refused.code == 1
    assert "nowhere.jsonl" in refused.err


def test_a_mixtures_expert_and_its_sum_are_pulled(hubctl, signed_in, base, tmp_path):
    from tests.hub import factories
    from tests.hub.mixtures import make_mixture

    pair = [factories.make_version(signed_in, name, base=base, seed=seed) for seed, name in enumerate(("one", "two"))]
    make_mixture(signed_in, pair, tmp_path / "made")
    own = factories.adapter_files(seed=1)
    assert hubctl("pull", "ada/mix", "--expert", "ada/two@v1", "-o", tmp_path / "two").code == 0
    assert {path.name: path.read_bytes() for path in (tmp_path / "two").iterdir()} == own
    summed = hubctl("pull", "ada/mix@v1", "--as", "cat", "-o", tmp_path / "cat")
    assert (summed.code, "answers otherwise" in summed.err) == (0, True)
    assert json.loads((tmp_path / "cat" / "adapter_config.json").read_text())["r"] == 8
    unknown = hubctl("pull", "ada/mix", "--expert", "three", "-o", tmp_path / "three")
    assert (unknown.code, "ada/one@v1" in unknown.err) == (4, True)
    assert not (tmp_path / "three").exists()
