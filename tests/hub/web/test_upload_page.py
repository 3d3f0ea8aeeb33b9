"""The upload page in a real browser: what it leaves out, all that stands in the way, and no repository of a refusal."""

import os
from pathlib import Path

import pytest

from composition.formats import folder_rules
from hub.models import ManifestEntry, Repository, Upload
from tests.hub import factories
from tests.hub.web.driver import CHROMIUM, DRIVER, ENTER, TAB, Browser

pytestmark = [
    pytest.mark.browser,
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="no Chromium with its driver here"),
]
CASES = Path(__file__).resolve().parents[2] / "field" / "cases"
PATHS = (
    """
optimizer.pt|OPTIMIZER.PT|a/Thumbs.db|runs/x/e|runs|.gitattributes|.git/config|latest|latest/x|x.log|zxlog|y~|é.log
adapter_model.safetensors|checkpoint-5/adapter_model.safetensors|checkpoint-5|sub/.env|zero_to_fp32.py|optimizer_0/a
rng_state_0.pth|README.md|events.out.tfevents.1.host|a+b.json|train.jsonl|(x).tmp
""".replace("\n", "|")
    .strip("|")
    .split("|")
)


@pytest.fixture
def page(live_server, store, tmp_path):
    """The upload page of somebody who is signed in, in a browser."""
    factories.make_base()
    factories.make_user("ada")
    browser = Browser(tmp_path / "profile")
    browser.open(f"{live_server.url}/sign-in?next=/upload")
    browser.type("[name=username]", "ada")
    browser.type("[name=password]", factories.PASSWORD)
    browser.press(ENTER)
    browser.until(lambda: browser.there("#upload"))
    yield browser
    browser.close()


def folder_of(place: Path, **more: bytes) -> Path:
    """A pico adapter's folder with more files; `__` stands for a slash in their names, `_dot_` for a dot."""
    files = factories.adapter_files() | {
        name.replace("__", "/").replace("_dot_", "."): data for name, data in more.items()
    }
    for name, data in files.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(data)
    return place


def test_the_page_leaves_out_what_the_table_says(page):
    script = (
        "const done = arguments[1]; import('/static/folder_rules.js').then((m) => done(arguments[0].map(m.leftOut)))"
    )
    found = page._ask("POST", "/execute/async", {"script": script, "args": [PATHS]})
    assert found == [(folder_rules.left_out(path) or ("",))[0] for path in PATHS]
    kinds = [["generator_config.json", "x.jsonl"], ["a.JSONL"], ["sub/x.jsonl"], ["x.safetensors", "a.jsonl"]]
    script = script.replace("leftOut", "kindOf")
    found = page._ask("POST", "/execute/async", {"script": script, "args": [kinds]})
    assert found == [folder_rules.kind_of(paths) or "" for paths in kinds]


def test_a_refused_upload_names_all_files_and_leaves_no_repository(page, tmp_path):
    folder = folder_of(
        tmp_path / "x", optimizer_dot_pt=b"1", runs__e=b"1", run_dot_sh=b"#!/bin/sh\n", a_dot_zip=b"a=1\n"
    )
    page.type("[name=name]", "first")
    page.type("#folder", str(folder))
    page.until(
        lambda: "runs/, optimizer.pt" in page.text("#left-out") or "optimizer.pt, runs/" in page.text("#left-out")
    )
    page.click("#start")
    page.until(lambda: "Nothing was published" in page.text("#upload-said"))
    assert "run.sh" in page.text("#upload-said ul") and "a.zip" in page.text("#upload-said ul")
    assert not Repository.objects.exists() and not Upload.objects.exists()
    picture(page, "refused")
    # By keys alone from here: the notice has the focus, its button comes next, then the page's own.
    page.press(TAB + ENTER)
    page.until(lambda: "run.sh" not in page.text("#list"))
    assert page.run("return document.activeElement.id") == "start"
    page.press(ENTER)
    page.until(lambda: page.address_now.endswith("/ada/first/at/v1"))
    assert set(ManifestEntry.objects.values_list("path", flat=True)) == {
        "adapter_config.json",
        "adapter_model.safetensors",
    }
    assert page.complaints() == [] or all("422" in line for line in page.complaints())


def test_leftovers_go_along_where_one_says_so(page, tmp_path):
    folder = folder_of(tmp_path / "x", Thumbs_dot_db=b"1")
    page.type("[name=name]", "first")
    page.type("#folder", str(folder))
    page.until(lambda: "Thumbs.db" in page.text("#left-out"))
    page.click("#left-out button")
    page.until(lambda: "Thumbs.db" in page.text("#list"))
    assert page.there("#left-out[hidden]")
    page.click("#start")
    # They were sent with the rest, and what is refused is the base, which nobody registered.
    page.until(lambda: page.address_now.endswith("/ada/first/at/v1"))
    assert ManifestEntry.objects.filter(path="Thumbs.db").exists()


def picture(page: Browser, name: str) -> None:
    """A picture of the page, where UPLOAD_PICTURES names a folder for it."""
    if folder := os.environ.get("UPLOAD_PICTURES"):
        page.picture(Path(folder) / f"{name}.png")


def test_warnings_stand_in_the_result_with_the_way_to_the_version(page, tmp_path):
    head = (CASES / "f19_value_head" / "value_head.safetensors").read_bytes()
    folder = folder_of(tmp_path / "with-head", **{"value_head.safetensors": head})
    page.type("[name=name]", "headed")
    page.type("#folder", str(folder))
    page.click("#start")
    page.until(lambda: "ada/headed@v1 is published, with a warning" in page.text("#upload-said"))
    assert "value_head.safetensors" in page.text("#upload-said")
    assert page.run("return document.activeElement.id") == "upload-said"
    page.press(TAB)
    page.press(ENTER)
    page.until(lambda: page.address_now.endswith("/ada/headed/at/v1"))
    assert "value_head.safetensors" in page.text("main")
