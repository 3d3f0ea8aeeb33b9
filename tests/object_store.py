"""An S3 server of the tests, behind a proxy that can take it away: `bucket` makes it this test's store."""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from tests.hub.s3_proxy import Proxy

KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}


@dataclass
class Bucket:
    """A bucket of its own, as the hub's store. `asked` are the requests since it was last cleared."""

    name: str
    proxy: Proxy
    asked: list[tuple[str, dict]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"s3://{self.name}/hub"

    def of(self, operation: str) -> list[dict]:
        """The parameters of each request of one operation."""
        return [params for name, params in self.asked if name == operation]

    def bytes_read(self) -> int:
        """The bytes that all ranges asked for have."""
        ends = [params["Range"].removeprefix("bytes=").split("-") for params in self.of("GetObject")]
        return sum(int(last) - int(first) + 1 for first, last in ends)

    @property
    def client(self):
        """The hub's own client."""
        from django.core.files.storage import storages

        return storages["blobs"].connection.meta.client


@pytest.fixture(scope="session")
def s3_server() -> Iterator[tuple[str, int]]:
    """Host and port of a server in this process."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    yield server.get_host_and_port()
    server.stop()


@pytest.fixture
def bucket(settings, tmp_path, monkeypatch, s3_server) -> Iterator[Bucket]:
    """An empty bucket as the blob store, and an upload folder for this test alone."""
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    made = Bucket(f"hub-{uuid.uuid4().hex}", Proxy(s3_server))
    with made.proxy as proxy:
        options = {"bucket_name": made.name, "location": "hub", "endpoint_url": proxy.address}
        backend = {"BACKEND": "hub.storage.client.ObjectStorage", "OPTIONS": options}
        settings.STORAGES = {**settings.STORAGES, "blobs": backend}
        settings.UPLOAD_FOLDER = tmp_path / "uploads"
        made.client.create_bucket(Bucket=made.name)
        made.client.meta.events.register(
            "provide-client-params.s3", lambda params, model, **_: made.asked.append((model.name, dict(params)))
        )
        yield made
