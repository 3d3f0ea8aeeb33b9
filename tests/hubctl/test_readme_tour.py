"""README's tour, line by line: on an empty hub and after `make demo` (slow), and what of it needs no model (quick)."""

import re
import shlex
import subprocess
import sys
from http.cookiejar import CookieJar
from pathlib import Path
from urllib.parse import urlencode
from urllib.request import HTTPCookieProcessor, ProxyHandler, Request, build_opener

import pytest
from django.utils import timezone

from hub.models import WorkerNode
from hubctl.client import Hub
from tests.hub import factories
from tests.hubctl.conftest import make_token
from tests.hubctl.test_up import address, environment, until, up  # noqa: F401

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text("utf-8")
PASSWORD = "correct horse battery"
# An evaluation and a trial run the base model, which takes minutes.
NEEDS_MODEL = ("eval", "try")
SMOLLM2 = {"model_type": "llama", "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30}
SMOLLM2 |= {"num_attention_heads": 9, "num_key_value_heads": 3, "vocab_size": 49152, "tie_word_embeddings": True}


def section(title: str) -> dict[str, str]:
    """The section's first block of each language."""
    text = README.split(f"\n## {title}\n")[1].split("\n## ")[0]
    return dict(reversed(re.findall(r"```(\w+)\n(.*?)```", text, re.S)))


def commands() -> list[list[str]]:
    """The words of each hubctl command of the tour."""
    lines = section("A tour in five minutes")["sh"].splitlines()
    words = [shlex.split(line, comments=True) for line in lines if line.strip()]
    assert [row for row in words if row[0] != "hubctl"] == [["make", "up", "&"], [".", ".venv/bin/activate"]]
    return [row[1:] for row in words if row[0] == "hubctl"]


@pytest.mark.django_db(transaction=True)
def test_the_tour_without_the_model(hubctl, served, worker, monkeypatch, tmp_path):
    now = timezone.now()
    name = next(row[2] for row in commands() if row[:2] == ["base", "add"])
    held = {"name": name, "revision": "main", "config": SMOLLM2, "source": {}, "where": "here", "open": True}
    WorkerNode.objects.create(name="w", offers=[held], device="cpu", started_at=now, seen_at=now)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    assert hubctl("login", served, "--token", make_token(factories.make_user("you"))).code == 0
    ran = [row for row in commands() if row[0] not in (*NEEDS_MODEL, "login")]
    for row in ran:
        done = hubctl(*row)
        assert done.code == 0, (row, done.err)
    assert {row[0] for row in ran} >= {"base", "push", "search", "merge", "dataset", "pull"}
    assert (tmp_path / "both" / "adapter_model.safetensors").is_file()


def sign_up(url: str) -> None:
    """Make the account `you` on the page, as the tour asks."""
    browser = build_opener(ProxyHandler({}), HTTPCookieProcessor(jar := CookieJar()))
    browser.open(f"{url}/sign-up")
    token = next(cookie.value for cookie in jar if cookie.name.endswith("csrftoken"))
    form = urlencode({"username": "you", "password": PASSWORD, "csrfmiddlewaretoken": token}).encode()
    browser.open(Request(f"{url}/sign-up", form, {"Referer": f"{url}/sign-up", "Origin": url}))


@pytest.fixture
def place(tmp_path, environment) -> Path:  # noqa: F811
    """A folder like the repository's, with the data folder of this test and a shell's environment to work in it."""
    here = tmp_path / "here"
    (here / ".venv" / "bin").mkdir(parents=True)
    (here / ".venv" / "bin" / "activate").write_text(f'PATH="{here}/.venv/bin:$PATH"\n')
    for name, module in (("hubctl", "-m hubctl"), ("python", "")):
        script = here / ".venv" / "bin" / name
        script.write_text(f'#!/bin/sh\nPYTHONPATH="{ROOT}" exec "{sys.executable}" {module} "$@"\n')
        script.chmod(0o755)
    (here / "examples").symlink_to(ROOT / "examples")
    Path(environment["HUB_DATA"]).mkdir()
    (here / "data").symlink_to(environment["HUB_DATA"])
    environment |= {"XDG_CONFIG_HOME": str(here / "config"), "XDG_CACHE_HOME": str(here / "cache")}
    environment |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    return here


@pytest.fixture
def started(request, place, environment):  # noqa: F811
    """The address of a hub over the data folder: empty, or as `make demo` leaves it."""
    if request.param == "after make demo":
        demo = [sys.executable, str(ROOT / "examples" / "demo.py"), "--rows", "1"]
        done = subprocess.run(demo, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    request.getfixturevalue("up")
    return until(lambda: address(environment))


@pytest.mark.slow
@pytest.mark.parametrize("started", ["empty", "after make demo"], indirect=True)
def test_the_tour_by_the_letter(started, place, environment):  # noqa: F811
    sign_up(started)
    environment["HUBCTL_URL"] = started
    # Whoever signs up takes longer than the worker's start.
    hub = Hub(started)
    hub.sign_in("you", PASSWORD)
    until(hub.workers)

    def shell(script: str, given: str = "") -> str:
        line = ["bash", "-ec", f". .venv/bin/activate\n{script}"]
        told = {"cwd": place, "env": environment, "capture_output": True, "text": True, "start_new_session": True}
        done = subprocess.run(line, input=given, **told)
        assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    for line in section("A tour in five minutes")["sh"].splitlines():
        if line.strip() and not line.startswith("make up &"):
            shell(line, f"you\n{PASSWORD}\n" if line.startswith("hubctl login") else "")
    for title in ("A tour in five minutes", "Merging"):
        code = section(title)["python"]
        (place / "block.py").write_text(code + "\n")
        shell("python block.py")
    assert (place / "merged" / "adapter_model.safetensors").is_file()
