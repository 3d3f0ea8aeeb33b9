"""The first push to an empty hub is refused with a command; that command, run as it stands, makes the push work."""

import json
import re
import shlex

import pytest
from django.utils import timezone

from hub.models import WorkerNode
from tests.hub import factories
from tests.hubctl.conftest import write

pytestmark = pytest.mark.django_db(transaction=True)
COMMAND = re.compile(r"hubctl base add .*? --wait")
BASE = re.compile(r"--base (\S+?),")


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder to work in that holds the base's config.json."""
    (tmp_path / "config.json").write_text(json.dumps(factories.PICO_CONFIG))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def filled(word: str) -> str:
    """A word of the advice with its places filled in."""
    return word.replace("ORG/NAME", "mine/own").replace("YOU/", "ada/")


NAMES = [
    "mine/tiny",
    "mine/tiny@v2",
    "mine/tiny@a b",
    "/models/my base",
    "C:\\models\\small",
    "little",
    None,
    "Qwen/big",
]


def test_the_command_of_the_refusal_makes_the_push_work(hubctl, signed_in, served, worker, here):
    factories.make_user("other")  # with a second account the official names are an administrator's
    for number, name in enumerate(NAMES):
        folder, to = write(here / f"a{number}", factories.adapter_files(base_name=name, seed=number)), f"ada/a{number}"
        refused = hubctl("push", folder, to)
        assert (refused.code, refused.err[:22]) == (1, "hubctl: base.unknown: ")
        said = refused.err.splitlines()[0]
        assert f"in a browser: {served}/bases/new" in refused.err
        command = [filled(word) for word in shlex.split(COMMAND.search(said)[0])]
        assert command[0] == "hubctl"
        registered = hubctl(*command[1:])
        assert registered.code == 0, (name, registered.err)
        base = [filled(found[1]) for found in [BASE.search(said)] if found]
        assert bool(base) == (name in (None, "Qwen/big", "mine/tiny@a b"))
        pushed = hubctl("push", folder, to, *(["--base", *base] if base else []))
        assert (pushed.code, pushed.out.splitlines()[0]) == (0, f"{to}@v1 pushed"), (name, pushed.err)


def test_what_a_worker_holds_needs_no_config(hubctl, signed_in, served, worker, tmp_path):
    held = {"name": "mine/tiny", "revision": "main", "config": factories.PICO_CONFIG, "source": {}}
    now = timezone.now()
    facts = {"device": "cpu", "started_at": now, "seen_at": now}
    WorkerNode.objects.create(name="w", offers=[{**held, "where": "folder mine/tiny", "open": True}], **facts)
    assert "mine/tiny  main      llama  folder mine/tiny" in hubctl("base", "held").out
    folder = write(tmp_path / "adapter", factories.adapter_files(base_name="mine/tiny"))
    said = hubctl("push", folder, "ada/one").err
    command = COMMAND.search(said)[0]
    assert command == "hubctl base add mine/tiny --wait"
    assert hubctl(*command.split()[1:]).code == 0
    assert hubctl("push", folder, "ada/one").code == 0
    assert hubctl("base", "held").out == ""
    refused = hubctl("base", "add", "mine/other")
    assert (refused.code, "base.not_held" in refused.err) == (1, True)


def test_a_worker_that_still_looks_is_waited_for(hubctl, signed_in, worker, monkeypatch):
    """`make up`, then at once `hubctl base add`: the worker needs some seconds to say what it holds."""
    now = timezone.now()
    node = WorkerNode.objects.create(name="w", offers=None, device="cpu", started_at=now, seen_at=now)
    held = {"name": "mine/tiny", "revision": "main", "config": factories.PICO_CONFIG, "source": {}}
    found = [{**held, "where": "folder mine/tiny", "open": True}]
    looks = []
    told = lambda attempt: looks.append(WorkerNode.objects.filter(pk=node.pk).update(offers=found))  # noqa: E731
    monkeypatch.setattr("hubctl.transport.pause", told)
    assert hubctl("base", "add", "mine/tiny").code == 0
    assert looks == [1]


def test_a_config_that_is_not_there_is_said_with_the_other_way(hubctl, signed_in, here):
    for path, said in (("missing.json", "no file 'missing.json'"), (".", "")):
        (here / "config.json").unlink(missing_ok=True)
        refused = hubctl("base", "add", "mine/tiny", "--config", path)
        assert refused.code == 1
        assert said in refused.err and "hubctl base held" in refused.err


def test_an_empty_list_says_how_to_begin(hubctl, signed_in):
    assert "hubctl base add ORG/NAME --config config.json --wait" in hubctl("base", "list").err
    assert "HUB_BASES" in hubctl("base", "held").err


def test_a_gguf_or_weights_in_place_of_the_config_are_told_the_way(hubctl, signed_in, here):
    (here / "tiny.gguf").write_bytes(b"GGUF")
    (here / "big.json").write_bytes(b" " * 1_000_001)
    for name in ("tiny.gguf", "big.json"):
        refused = hubctl("base", "add", "mine/tiny", "--config", name)
        assert (refused.code, "HUB_BASES/ORG/NAME.gguf" in refused.err) == (1, True)
