"""`hubctl push FOLDER NAME --each`: a plan first, then a repository a folder; what is refused stops nothing else."""

import pytest

from hub.models import Ref, Repository, Version
from hub.services.content.manifest import manifest_of
from tests.hub import factories
from tests.hubctl.conftest import write

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def runs(tmp_path, base):
    """Three adapters in folders, one of them deeper, and what goes along with none."""
    top = tmp_path / "runs out"
    for seed, place in enumerate(("mood", "dates v2", "old/orders"), 1):
        write(top / place, factories.adapter_files(rank=4, seed=seed))
    return write(top, {"notes.txt": b"n", "empty/readme.txt": b"r", "mood/optimizer.pt": b"o"})


def made() -> set[str]:
    return {version.repository.full_name for version in Version.objects.all()}


ALL = {"ada/x-mood", "ada/x-dates-v2", "ada/x-old-orders"}


def test_every_folder_becomes_a_repository_and_the_same_again_changes_nothing(hubctl, signed_in, runs):
    shown = hubctl("push", runs, "ada/x", "--each", "--tag", "best", "--private")
    assert shown.code == 0, shown.err
    assert made() == ALL and not Repository.objects.exclude(visibility="private").exists()
    plan, _, rest = shown.out.partition("\nada/")
    assert plan.splitlines()[0].split() == ["folder", "repository", "files"]
    assert f"{runs}/dates v2" in plan and "ada/x-old-orders" in plan and "@v1 pushed" not in plan
    assert rest.count("@v1 pushed") == 3 and "mood/optimizer.pt" in shown.err
    mood = Version.objects.get(repository__name="x-mood")
    assert set(manifest_of(mood.revisions.get())) == {"adapter_config.json", "adapter_model.safetensors"}
    assert Ref.objects.filter(repository=mood.repository, name="best").exists()
    again = hubctl("push", runs, "ada/x", "--each", "--json")
    assert again.code == 0 and [row["created"] for row in again.json["pushed"]] == [False] * 3
    assert [row["repository"] for row in again.json["plan"]] == sorted(ALL) and again.json["refused"] == []


def test_a_refused_folder_is_told_at_the_end_with_its_way_on(hubctl, signed_in, runs):
    config = runs / "mood/adapter_config.json"
    good = config.read_text()
    config.write_text(good.replace("pico/llama", "nobody/here"))
    write(runs / "mood2", {"adapter_config.json": good.encode(), "adapter_model.bin": b"\x80\x02}q\x00."})
    shown = hubctl("push", runs, "ada/x", "--each")
    assert shown.code == 1 and made() == ALL - {"ada/x-mood"}
    assert f"{runs}/mood to ada/x-mood:\nhubctl: base.unknown" in shown.err
    assert f"{runs}/mood2 to ada/x-mood2:" in shown.err and "NAME" not in shown.err
    assert not Repository.objects.filter(name="x-mood").exists(), "a refused first push makes nothing"
    as_json = hubctl("push", runs, "ada/x", "--each", "--json")
    assert as_json.code == 1 and len(as_json.json["pushed"]) == 2
    assert [(row["repository"], row["exit_code"]) for row in as_json.json["refused"]] == [
        ("ada/x-mood", 1),
        ("ada/x-mood2", 1),
    ]
    config.write_text(good)
    mended = hubctl("push", runs, "ada/x", "--each", "--exclude", "*.bin")
    assert made() == ALL and "mood2" in mended.err


def test_the_plan_alone_sends_nothing_and_needs_no_sign_in(hubctl, runs):
    shown = hubctl("push", runs, "ada", "--each", "--plan", "--json")
    assert shown.code == 0, shown.err
    found = {row["repository"]: row["files"] for row in shown.json["plan"]}
    assert found == {"ada/mood": 2, "ada/dates-v2": 2, "ada/old-orders": 2}
    assert not Repository.objects.exists()
    assert hubctl("push", runs, "ada/x", "--plan").code == 2
    assert hubctl("push", runs, "ada/x", "--each", "--delete", "a").code == 2


def test_the_adapter_at_the_top_goes_without_what_lies_below(hubctl, signed_in, runs):
    write(runs, factories.adapter_files(rank=2, seed=9))
    shown = hubctl("push", runs, "ada/x", "--each", "--json")
    assert shown.code == 0, shown.err
    assert made() == ALL | {"ada/x"}
    files = set(manifest_of(Version.objects.get(repository__name="x").revisions.get()))
    assert files == {"adapter_config.json", "adapter_model.safetensors", "notes.txt", "empty/readme.txt"}
    named = hubctl("push", runs, "ada", "--each", "--plan", "--json")
    assert "ada/runs-out" in {row["repository"] for row in named.json["plan"]}


def test_data_right_below_the_top_is_a_dataset(hubctl, signed_in, runs):
    write(runs / "sums", {"train.jsonl": b'{"prompt": "1+1?", "completion": "2"}\n'})
    write(runs / "mood/data", {"train.jsonl": b'{"prompt": "1+1?", "completion": "2"}\n'})
    shown = hubctl("push", runs, "ada/x", "--each", "--plan", "--json")
    assert {row["repository"] for row in shown.json["plan"]} == ALL | {"ada/x-sums"}


def test_what_can_not_be_planned_is_refused_before_anything_is_sent(hubctl, signed_in, runs, tmp_path):
    write(runs / "dates-v2", factories.adapter_files(rank=4, seed=5))
    write(runs / ("m" * 96), factories.adapter_files(rank=4, seed=6))
    shown = hubctl("push", runs, "ada/x", "--each")
    assert shown.code == 1 and not made()
    assert "so would" in shown.err and "can't name a repository" in shown.err
    nothing = hubctl("push", write(tmp_path / "none", {"a.txt": b"a"}), "ada/x", "--each")
    assert nothing.code == 1 and "no folder of an adapter" in nothing.err
    assert hubctl("push", tmp_path / "nowhere", "ada/x", "--each").code == 1
    assert hubctl("push", runs, "a b/x", "--each").code == 1
