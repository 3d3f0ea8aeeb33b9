"""From an empty hub to an adapter that answers, in a real browser: every step is a link or a button of the page before.

The base is the pico model in a folder of the worker, so that the whole way takes seconds.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from hub import broker, progress
from hub.models import BaseModel, Version
from tests.hub import factories
from tests.hub.conftest import no_earlier_tries  # noqa: F401
from tests.hub.web.driver import CHROMIUM, DRIVER, ENTER, TAB, Browser
from tests.workers.conftest import write_base
from tests.workers.thread import working

pytestmark = [
    pytest.mark.browser,
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="no Chromium with its driver here"),
]
PASSWORD = "correct horse battery"
CHOSEN = "return document.querySelectorAll('.chosen tbody tr').length"


@pytest.fixture
def place(live_server, settings, store, monkeypatch) -> Path:
    """A folder for a hub with nothing in it, no broker, and a worker that looks in `bases` alone."""
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    broker.producer.cache_clear()
    broker.client.cache_clear()
    progress._away_until = 0.0
    settings.WORKER_CACHE, settings.WORKER_BASES = store / "worker", str(store / "bases")
    settings.WORKER_THREADS, settings.WORKER_OFFERS = 1, True
    monkeypatch.setattr("workers.offers._in_packages", list)
    monkeypatch.setattr("workers.offers._in_cache", list)
    return store


@pytest.fixture
def held(place) -> Path:
    """The place, with the pico base in the folder where the worker looks."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    write_base(place / "bases" / "pico" / "llama", LlamaForCausalLM(LlamaConfig(**factories.PICO_CONFIG)))
    return place


@pytest.fixture
def worker(place) -> Iterator[None]:
    """A worker in a thread that shows itself and runs what is queued."""
    with working(shows_itself=True):
        yield


@pytest.fixture
def browser(tmp_path) -> Iterator[Browser]:
    """A window, 1280 wide."""
    made = Browser(tmp_path / "profile")
    yield made
    made.close()


def adapter(folder: Path, seed: int, name: str) -> Path:
    """An adapter of the pico base, whose config names the base `name`."""
    folder.mkdir(parents=True)
    for file, data in factories.adapter_files(rank=4, seed=seed, base_name=name).items():
        (folder / file).write_bytes(data)
    return folder


def shown(browser: Browser, name: str) -> None:
    """A picture of the page, where FIRST_RUN_PICTURES names a folder for it."""
    if folder := os.environ.get("FIRST_RUN_PICTURES"):
        browser.picture(Path(folder) / f"{name}.png")


def sign_up(browser: Browser) -> None:
    browser.type("[name=username]", "ada")
    browser.type("[name=password]", PASSWORD)
    browser.click(".door button")
    browser.until(lambda: "ada" in browser.text(".account"))


def upload(browser: Browser, folder: Path, name: str) -> None:
    """Upload the folder by the page; the browser is at its version then, or the page says why not."""
    browser.type("[name=name]", name)
    browser.type("#folder", str(folder))
    browser.click("#start")


def test_an_empty_hub_leads_to_an_adapter_that_answers(browser, live_server, held, worker):
    browser.open(live_server.url)
    shown(browser, "01-empty")
    browser.click(".first-steps .next a")
    sign_up(browser)
    browser.until(lambda: "Register a base" in browser.text(".first-steps .next"))
    shown(browser, "02-signed-up")
    browser.click(".first-steps .next a")

    browser.until(lambda: browser.there(".offers"), "an offer")  # appears by itself once the worker has looked
    assert "pico/llama" in browser.text(".offers")
    shown(browser, "03-register")
    browser.run("document.querySelector('.offers button').focus()")
    browser.press(ENTER)
    browser.until(lambda: browser.address_now.endswith("/bases/pico/llama"))
    browser.click(".wide section a.button")  # appears by itself once the shapes are read
    shown(browser, "04-upload")
    assert browser.run("return document.querySelector('[name=base]').value") == "pico/llama"

    upload(browser, adapter(held / "one", 1, "pico/llama"), "one")
    browser.until(lambda: browser.address_now.endswith("/ada/one/at/v1"), browser.text("#upload-said"))
    shown(browser, "05-uploaded")
    browser.click(".account a.button")
    upload(browser, adapter(held / "two", 2, "pico/llama"), "two")
    browser.until(lambda: browser.address_now.endswith("/ada/two/at/v1"), browser.text("#upload-said"))

    browser.open(f"{live_server.url}/merge")
    for count in (1, 2):
        browser.click("#candidates button:not([disabled])")
        browser.until(lambda count=count: browser.run(CHOSEN) == count)
    browser.type("[name=rank]", "4")
    browser.type("[name=name]", "both")
    shown(browser, "06-merge")
    browser.click("#merging .actions .button:not(.plain)")
    browser.until(lambda: "/jobs/" in browser.address_now)
    shown(browser, "07-job")
    browser.until(lambda: Version.objects.filter(repository__name="both").exists(), "a merge")

    browser.open(f"{live_server.url}/ada/both/try")
    browser.type("#prompt", "1 + 2 =")
    browser.click("#ask .try-row button")
    browser.until(lambda: browser.there("#trial[data-final]"), "the answers")
    shown(browser, "08-tried")
    assert "cut at the length limit" in browser.text("#trial") or "ended by itself" in browser.text("#trial")
    assert browser.complaints() == []


def test_a_refused_upload_leads_to_the_page_that_mends_it(browser, live_server, place, worker):
    browser.open(f"{live_server.url}/sign-up")
    sign_up(browser)
    browser.open(f"{live_server.url}/upload")
    assert "No base model is registered yet" in browser.text("main")
    upload(browser, adapter(place / "one", 1, "mine/tiny"), "one")
    browser.until(lambda: browser.run("return !document.getElementById('upload-mend').hidden"))
    assert "'mine/tiny', which is not registered here" in browser.text("#upload-said")
    shown(browser, "11-refused")
    mend = browser.run("return document.querySelector('#upload-mend a').href")

    # By the keyboard alone: the name stands there, the config is pasted, and the button is the next but one.
    browser.open(mend)
    assert browser.run("return document.activeElement.value") == "mine/tiny"
    browser.press(TAB * 2)
    browser.press('{"model_type": 3}')
    browser.press(TAB * 2 + ENTER)
    browser.until(lambda: browser.there("#error-config"))
    assert browser.run("return document.activeElement.id") == "config"
    shown(browser, "12-refused-config")
    (place / "config.json").write_text(json.dumps(factories.PICO_CONFIG))
    browser.type("#config_file", str(place / "config.json"))
    browser.click(".form > p .button")
    browser.until(lambda: browser.address_now.endswith("/bases/mine/tiny"))
    browser.until(lambda: BaseModel.objects.filter(name="mine/tiny").exclude(fingerprint="").exists(), "shapes")

    browser.open(f"{live_server.url}/upload")
    upload(browser, place / "one", "one")
    browser.until(lambda: browser.address_now.endswith("/ada/one/at/v1"), browser.text("#upload-said"))
