"""The pull-through mirror: nothing without both settings, nothing off the lists, and what comes is proven."""

import contextlib
import hashlib
import http.server
import ipaddress
import json
import threading

import pytest
from django.test import Client

from hub.models import BaseModel, Event
from hub.services.mirror import bringing, fetching, guard
from tests.hub import factories
from tests.hub.hf.test_base_files import FILES, WEIGHTS
from tests.hub.hf.wire import Hf

pytestmark = pytest.mark.django_db(transaction=True)
LOOPBACK = [ipaddress.ip_network("127.0.0.0/8")]
COMMIT = "a" * 40


class Source(http.server.BaseHTTPRequestHandler):
    """A hub with one model. `moves` maps a path to where it redirects; `files` are what it sends.

    `slow` maps a path to the seconds between two bytes of it, 0 where none comes.
    """

    def do_GET(self):
        self.server.asked.append((self.path, dict(self.headers)))
        if self.path in self.server.moves:
            self.send_response(302)
            self.send_header("Location", self.server.moves[self.path])
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        path = self.path.partition("?")[0]
        if path in self.server.slow:
            self.send_response(200)
            self.send_header("Content-Length", str(len(WEIGHTS)))
            self.end_headers()
            for place in range(len(WEIGHTS) if self.server.slow[path] else 0):
                with contextlib.suppress(OSError):
                    self.wfile.write(WEIGHTS[place : place + 1])
                if self.server.over.wait(self.server.slow[path]):
                    return
            self.server.over.wait(60)
            return
        data = self.server.info if path == "/api/models/Pico/Llama" else self.server.files.get(path)
        self.send_response(200 if data is not None else 404)
        self.send_header("Content-Length", str(len(data or b"")))
        self.end_headers()
        self.wfile.write(data or b"")

    def log_message(self, *_):
        pass


@pytest.fixture
def source(store, settings):
    """The source, and settings that let the mirror fetch from it."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Source)
    server.asked, server.moves, server.slow, server.over = [], {}, {}, threading.Event()
    server.files = {f"/Pico/Llama/resolve/{COMMIT}/{path}": data for path, data in FILES.items()}
    siblings = [
        {
            "rfilename": path,
            "size": len(data),
            "blobId": hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest(),
            **({"lfs": {"sha256": hashlib.sha256(data).hexdigest()}} if path.endswith(".safetensors") else {}),
        }
        for path, data in [*FILES.items(), ("pytorch_model.bin", b"PK")]
    ]
    server.said = {"id": "Pico/Llama", "sha": COMMIT, "cardData": {"license": "mit"}, "siblings": siblings}
    server.info = json.dumps(server.said).encode()
    settings.MIRROR = f"http://127.0.0.1:{server.server_port}"
    settings.MIRROR_ALLOW, settings.MIRROR_NETWORKS = ["pico/*"], LOOPBACK
    bringing._failed.clear()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.over.set()
    server.shutdown()
    server.server_close()


@pytest.fixture
def ada(source):
    return Hf(factories.make_user("ada"), "Pico/Llama")


def test_an_allowed_base_is_fetched_when_it_is_asked_for_and_then_served(ada, source):
    said = ada.get("").json()
    assert {row["rfilename"] for row in said["siblings"]} == {*FILES, "provenance.json"}
    base = BaseModel.objects.get()
    assert (base.name, base.created_by, base.license) == ("Pico/Llama", None, "mit")
    assert base.config == factories.PICO_CONFIG
    asked = len(source.asked)
    got = ada.http.get("/Pico/Llama/resolve/main/model.safetensors", headers=ada.headers)
    assert b"".join(got.streaming_content) == WEIGHTS and len(source.asked) == asked
    assert not any("authorization" in {key.lower() for key in headers} for _, headers in source.asked)
    assert Event.objects.get(verb="base.mirror").detail["commit"] == COMMIT


def test_nothing_is_asked_for_without_the_settings_off_the_list_or_by_nobody(ada, source, settings):
    assert Client().get("/api/models/Pico/Llama").status_code == 401
    assert Hf(ada.user, "Other/Llama").get("").status_code == 404
    settings.MIRROR_ALLOW = []
    assert ada.get("").status_code == 404
    settings.MIRROR_ALLOW, settings.MIRROR = ["pico/*"], ""
    assert ada.get("").status_code == 404
    assert not source.asked and not BaseModel.objects.exists()


def test_a_base_that_a_user_registered_is_left_alone(ada, source):
    factories.make_base("Pico/Llama", created_by=factories.make_user("bob"))
    assert ada.get("").status_code == 404 and not source.asked


def test_private_networks_plain_http_and_hosts_off_the_list_are_refused(source, settings, ada):
    file = f"/Pico/Llama/resolve/{COMMIT}/model.safetensors"
    for place, why in (
        ("http://169.254.169.254/latest", "HUB_MIRROR_HOSTS"),
        ("https://example.org/x", "HUB_MIRROR_HOSTS"),
        (f"http://localhost:{source.server_port}/x", "HUB_MIRROR_HOSTS"),
        ("file:///etc/passwd", "HUB_MIRROR_HOSTS"),
        (file, "more than"),
    ):
        source.moves = {file: place}
        bringing._failed.clear()
        assert ada.get("").status_code == 404
        assert why in bringing._failed["pico/llama"][1], place
    settings.MIRROR_HOSTS = ["127.0.0.2", "localhost"]
    source.moves = {file: "https://127.0.0.2/x"}
    settings.MIRROR_NETWORKS = [ipaddress.ip_network("127.0.0.1/32")]
    bringing._failed.clear()
    assert ada.get("").status_code == 404 and "private network" in bringing._failed["pico/llama"][1]
    settings.MIRROR_NETWORKS = []
    bringing._failed.clear()
    assert ada.get("").status_code == 404 and "private network" in bringing._failed["pico/llama"][1]
    assert not BaseModel.objects.exists()


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"files": {f"/Pico/Llama/resolve/{COMMIT}/model.safetensors": WEIGHTS[:-1] + b"x"}}, "other bytes"),
        ({"files": {f"/Pico/Llama/resolve/{COMMIT}/model.safetensors": WEIGHTS + b"x"}}, "longer"),
        ({"files": {f"/Pico/Llama/resolve/{COMMIT}/tokenizer/vocab.txt": b"b\na\n"}}, "other bytes"),
        ({"said": {"gated": "auto"}}, "gated"),
        ({"said": {"sha": "main"}}, "no commit"),
        ({"said": {"siblings": [{"rfilename": "model.safetensors"}]}}, "neither size"),
        ({"said": {"id": "Pico/Other"}}, "is called"),
        ({"most": 10}, "HUB_MIRROR_MB"),
    ],
)
def test_what_is_not_as_it_was_described_is_not_kept(ada, source, settings, change, why):
    source.files |= change.get("files", {})
    source.info = json.dumps(source.said | change.get("said", {})).encode()
    settings.MIRROR_BYTES = change.get("most", settings.MIRROR_BYTES)
    assert ada.get("").status_code == 404
    assert why in bringing._failed["pico/llama"][1]
    assert not BaseModel.objects.exists()
    asked = len(source.asked)
    assert ada.get("").status_code == 404 and len(source.asked) == asked


@pytest.mark.parametrize("between", [0, 0.01], ids=["nothing comes", "a byte at a time"])
@pytest.mark.parametrize("path", ["/api/models/Pico/Llama", f"/Pico/Llama/resolve/{COMMIT}/model.safetensors"])
def test_a_source_that_takes_longer_than_the_cap_is_let_go(ada, source, settings, path, between):
    """Whether it says nothing or a byte now and then; nothing of it is kept, and another request does not wait."""
    source.slow, settings.MIRROR_SECONDS = {path: between}, 0.3
    assert ada.get("").status_code == 404
    assert "HUB_MIRROR_SECONDS" in bringing._failed["pico/llama"][1]
    assert not bringing._under_way and not BaseModel.objects.exists()
    source.slow = {}
    bringing._failed.clear()
    settings.MIRROR_SECONDS = 60
    assert ada.get("").status_code == 200


def test_while_it_is_on_its_way_clients_are_told_to_ask_again(ada, source, monkeypatch):
    go_on = threading.Event()
    fetch = fetching.fetch
    monkeypatch.setattr(bringing, "WAITS", 0.05)
    monkeypatch.setattr(bringing, "WAITS_FOR_ANOTHER", 0.05)
    monkeypatch.setattr(bringing, "fetch", lambda *given, **more: go_on.wait(20) and fetch(*given, **more))
    first = ada.get("")
    assert (first.status_code, first["Retry-After"]) == (503, "5")
    assert ada.get("").status_code == 503
    thread = bringing._under_way["pico/llama"]
    go_on.set()
    thread.join(20)
    assert ada.get("").status_code == 200


def test_patterns_hold_for_the_whole_name(settings):
    settings.MIRROR, settings.MIRROR_ALLOW = "https://huggingface.co", ["org/model", "Open/*"]
    names = ("Org/Model", "org/model2", "x/org/model", "open/any")
    assert [name for name in names if guard.is_wanted(name)] == ["Org/Model", "open/any"]
