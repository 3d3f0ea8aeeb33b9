"""Steps of docs/architecture.md, "Add a format", at the client: a folder of the toy format is pushed, shown and pulled.

What the format table does with it stands in tests/composition/test_format_table.py; REST, pages and merges in
tests/hub/content/test_format_doors.py.
"""

import pytest

from composition.formats import FORMATS
from composition.formats.peft.row import ROW as PEFT
from tests import toy_format
from tests.hub.content.test_format_doors import toy_files
from tests.hubctl.conftest import write

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def toy():
    with FORMATS.registered(toy_format.ROW):
        yield


def test_a_folder_is_pushed_shown_and_pulled_as_it_was(hubctl, lab, tmp_path):
    files = toy_files() | {"README.md": b"# A toy\n"}
    pushed = hubctl("push", write(tmp_path / "toy", files), "ada/toy")
    assert (pushed.code, "ada/toy@v1 pushed" in pushed.out) == (0, True), pushed.err
    shown = hubctl("info", "ada/toy").out.split()
    assert [shown[shown.index(word) + 1] for word in ("type", "base", "rank")] == ["TOY", "pico/llama", "2"]
    assert "ada/toy" in hubctl("list", "--peft-type", "TOY").out
    assert hubctl("pull", "ada/toy@v1", "-o", tmp_path / "out").code == 0
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir() if path.name in files} == files


def test_its_refusals_are_printed_and_leave_nothing(hubctl, lab, tmp_path):
    config = {"toy.json": toy_files()["toy.json"]}
    refused = hubctl("push", write(tmp_path / "half", config), "ada/toy")
    assert (refused.code, "The upload has no toy.safetensors" in refused.err) == (1, True)
    elsewhere = hubctl("push", write(tmp_path / "far", toy_files(base="nobody/knows")), "ada/toy")
    assert "toy.json names the base 'nobody/knows'" in elsewhere.err
    assert "There is no repository 'ada/toy'" in hubctl("info", "ada/toy").err


def test_it_is_merged_with_a_peft_adapter(hubctl, lab, work, tmp_path):
    assert hubctl("push", write(tmp_path / "toy", toy_files()), "ada/toy").code == 0
    queued = hubctl("merge", "svd", "ada/toy", "ada/one", "--rank", 6, "--to", "ada/both", "--json")
    assert queued.code == 0, queued.err
    assert work(queued.json["id"]).state == "done"
    assert hubctl("pull", "ada/both", "-o", tmp_path / "both").code == 0
    assert {path.name for path in (tmp_path / "both").iterdir()} >= set(PEFT.files)
