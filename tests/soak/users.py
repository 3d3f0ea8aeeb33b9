"""What users do all the time: look at pages, push, merge, pull, cancel and retry. Every answer is noted."""

import random
import re
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx
from safetensors.numpy import save

from hubctl.client import Hub
from hubctl.errors import HubctlError
from tests import uploads

PASSWORD = "correct horse battery staple"
BASE = "pico/llama"
MERGES = {"svd": (2, 4), "lego": (2, 4), "cat": (), "average": ()}
BURST = 3
PAGES = ("/", "/jobs", "/workers", "/bases", "/api/v1/repositories", "/api/v1/jobs", "/api/v1/workers")


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer: when it was asked and came (seconds since the start), what was asked, status (0: none came)."""

    begin: float
    end: float
    asked: str
    status: int


class User(threading.Thread):
    """One person with a seed of their own, until `over` is set."""

    def __init__(self, name: str, site, seed: int, folder: Path, over: threading.Event) -> None:
        super().__init__(name=name, daemon=True)
        self.user, self.site, self.folder, self.over = name, site, folder, over
        self.chance = random.Random(seed)
        self.answers: list[Answer] = []
        self.pushed: dict[str, dict[str, bytes]] = {}
        self.large: dict[str, bytes] = {}
        self.jobs: list[int] = []
        self.wrong: list[str] = []
        self.done: dict[str, int] = {}
        self._number = 0

    def run(self) -> None:
        """Act until the end; what fails because a part is down is noted, and life goes on."""
        self.hub = Hub(self.site.url, timeout=90)
        while not self.over.is_set() and not self._try(self._sign_in):
            time.sleep(1)
        names, weights = zip(*self.actions().items(), strict=True)
        while not self.over.is_set():
            action = self.chance.choices(names, weights)[0]
            if self._try(action):
                name = action.__name__.strip("_")
                self.done[name] = self.done.get(name, 0) + 1
            self.over.wait(self.chance.uniform(0.05, 0.4))

    def actions(self) -> dict[Callable[[], None], int]:
        """What they do, and how often beside the others."""
        return {
            self._page: 40,
            self._push: 12,
            self._merge: 20,
            self._pull: 14,
            self._cancel: 6,
            self._retry: 4,
            self._live: 3,
        }

    def _try(self, action: Callable[[], None]) -> bool:
        try:
            action()
        except (HubctlError, httpx.TransportError, OSError):
            return False  # Its answers are noted; the report judges them.
        except AssertionError as error:
            self.wrong.append(f"{self.user}: {error}")
            return False
        return True

    def _sign_in(self) -> None:
        self.hub.sign_in(self.user, PASSWORD)
        client = self.hub.transport.client
        send = client.send

        def noted(request: httpx.Request, **options) -> httpx.Response:
            begin = self.site.now()
            asked = f"{request.method} {re.sub(r'[0-9a-f]{12,}|[0-9]+', '#', request.url.path)}"
            try:
                response = send(request, **options)
            except httpx.TransportError:
                self.answers.append(Answer(begin, self.site.now(), asked, 0))
                raise
            self.answers.append(Answer(begin, self.site.now(), asked, response.status_code))
            return response

        client.send = noted
        page = client.get(f"{self.site.url}/sign-in")
        token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page.text)
        assert token, f"the sign-in page has no form: {page.status_code}"
        form = {"csrfmiddlewaretoken": token[1], "username": self.user, "password": PASSWORD}
        client.post(f"{self.site.url}/sign-in", data=form, headers={"Referer": self.site.url})

    def _page(self) -> None:
        path = self.chance.choice([*PAGES, *(f"/{name}" for name in list(self.pushed)[-3:])])
        self.hub.transport.client.get(f"{self.site.url}{path}")

    def _push(self) -> None:
        if len(self.pushed) > 30:
            return
        self._number += 1
        name, folder = f"{self.user}/a{self._number}", self.folder / f"push{self._number}"
        folder.mkdir(parents=True)
        rank = self.chance.choice((2, 4, 8))
        seed = self.chance.randrange(10**9)
        files = uploads.adapter(save(uploads.tensors(r=rank, seed=seed)), r=rank, lora_alpha=2 * rank)
        for path, content in files.items():
            (folder / path).write_bytes(content)
        self.hub.push(folder, name, base=BASE)
        self.pushed[name] = files
        shutil.rmtree(folder)

    def _merge(self) -> None:
        if len(self.pushed) < 2:
            return
        for _ in range(self.chance.randint(1, BURST)):
            self._number += 1
            inputs = [f"{name}@v1" for name in self.chance.sample(sorted(self.pushed), 2)]
            kind = self.chance.choice(sorted(MERGES))
            recipe = {"rank": self.chance.choice(MERGES[kind])} if MERGES[kind] else {}
            output, key = f"{self.user}/m{self._number}", f"{self.user}-{self._number}"
            job = self.hub.queue_job(kind, inputs=inputs, output=output, recipe=recipe, idempotency_key=key)
            self.jobs.append(job["id"])

    def _pull(self) -> None:
        if not self.pushed:
            return
        name = self.chance.choice(sorted(self.pushed))
        out = self.folder / f"pull-{self.user}"
        self.hub.pull(f"{name}@v1", out)
        for path, content in self.pushed[name].items():
            assert (out / path).read_bytes() == content, f"{name}: {path} came back with other bytes"
        shutil.rmtree(out)

    def _cancel(self) -> None:
        if self.jobs:
            self.hub.cancel_job(self.chance.choice(self.jobs[-5:]))

    def _retry(self) -> None:
        ended = self.hub.jobs("failed", limit=5) + self.hub.jobs("cancelled", limit=5)
        if ended:
            self.hub.retry_job(self.chance.choice(ended)["id"])

    def _live(self) -> None:
        """Look at a job's live events for a moment, as a page does."""
        if self.jobs:
            with self.hub.transport.stream(f"/jobs/{self.jobs[-1]}/events", headers={}) as response:
                for number, _ in enumerate(response.iter_lines()):
                    if number > 5:
                        break
