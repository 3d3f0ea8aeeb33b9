"""hubctl and a hub whose store goes away: it waits and goes on, from where the bytes stopped."""

import os
import threading

import pytest

from hub.models import Blob, ManifestEntry, Upload, Version
from hub.storage import blobs, client
from hubctl import transport
from hubctl.client import Hub
from hubctl.errors import Unreachable
from tests.hub import factories
from tests.hubctl.conftest import make_token

LARGE = os.urandom(6 << 20)
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def hub(served, ada, bucket, monkeypatch):
    """A client of a hub on S3, which has `ada/sentiment` with a file of 6 MB; waits are short."""
    factories.make_base()
    version = factories.make_version(ada)
    sha256, size = factories.store({"large": LARGE})["large"]
    blob = Blob.objects.create(sha256=sha256, size=size)
    ManifestEntry.objects.create(revision=version.revisions.get(), path="large.bin", blob=blob)
    monkeypatch.setattr(client, "PAUSE_SECONDS", 0.05)
    monkeypatch.setattr(transport, "pause", lambda attempt, retry_after=None: threading.Event().wait(0.1))
    with Hub(served, make_token(ada), timeout=5) as made:
        yield made


def pull(hub, tmp_path) -> bytes:
    hub.pull("ada/sentiment", tmp_path / "out")
    return (tmp_path / "out" / "large.bin").read_bytes()


def back_in(bucket, seconds: float = 1.0) -> None:
    threading.Timer(seconds, bucket.proxy.resume).start()


def test_a_pull_waits_for_a_store_that_is_away(hub, bucket, tmp_path):
    bucket.proxy.cut()
    back_in(bucket)
    assert pull(hub, tmp_path) == LARGE


def test_a_pull_goes_on_where_the_store_died(hub, bucket, tmp_path):
    bucket.proxy.cut_after(4 << 20)
    back_in(bucket, 2.0)
    before = bucket.proxy.answered
    assert pull(hub, tmp_path) == LARGE
    assert bucket.proxy.answered - before < 1.5 * len(LARGE), "what had come was not read again"


def test_a_pull_by_redirect_waits_and_goes_on_as_well(hub, bucket, tmp_path, settings):
    settings.DOWNLOADS = "redirect"
    bucket.proxy.cut_after(3 << 20)
    back_in(bucket)
    bucket.asked.clear()
    assert pull(hub, tmp_path) == LARGE
    by_hub = [params for params in bucket.of("GetObject") if "ResponseContentType" not in params]
    assert not [one for one in by_hub if blobs.size(one["Key"].rpartition("/")[2]) >= 1 << 20]


def test_a_push_waits_at_its_commit_and_is_published_once(hub, bucket, tmp_path):
    files = factories.adapter_files(seed=5)
    folder = tmp_path / "adapter"
    for path, data in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    cut = []

    def moved(what, done, total):
        if what == "adapter_model.safetensors" and done == total and not cut:
            cut.append(1)
            bucket.proxy.cut()
            back_in(bucket)

    pushed = hub.push(folder, "ada/pushed", base="pico/llama", moved=moved)
    assert (pushed["version"], pushed["created"], cut) == ("v1", True, [1])
    assert Version.objects.filter(repository__name="pushed").count() == 1


def test_it_waits_no_longer_than_it_was_told_and_keeps_what_was_sent(hub, bucket, tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "train.jsonl").write_bytes(b'{"prompt": "a", "completion": "b"}\n' * 10)
    hub.transport.patience = 0.5
    bucket.proxy.cut()
    with pytest.raises(Unreachable, match="store can't be reached"):
        hub.push(folder, "datasets/ada/rows")
    bucket.proxy.resume()
    assert hub.push(folder, "datasets/ada/rows")["version"] == "v1"
    assert Upload.objects.filter(name="rows").count() <= 1
