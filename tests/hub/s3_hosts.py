"""An S3 server in this process, and web hosts that share nothing but it and the database: the fixture `hosts`."""

import itertools
import logging
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from django.core.files.storage import storages

from hub.services.arrivals import transfer_parts
from hub.services.content.staging import objects


@pytest.fixture(scope="session")
def s3_address() -> Iterator[str]:
    """Where the server listens. Its log is silent, as each line would be kept for the report."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


class Hosts:
    """Web hosts with one database and one bucket. `on` makes this process one of them, which knows nothing yet."""

    def __init__(self, settings, tmp_path) -> None:
        self.settings, self.tmp_path, self.numbers = settings, tmp_path, itertools.count()

    @contextmanager
    def on(self, name: str) -> Iterator[None]:
        folder = self.tmp_path / f"{name}{next(self.numbers)}"
        self.settings.UPLOAD_FOLDER, self.settings.SPOOL_FOLDER = folder / "uploads", folder / "spool"
        self.settings.SPOOL_FOLDER.mkdir(parents=True)
        objects._known.clear()
        transfer_parts._known.clear()
        yield
        assert not [path for path in folder.rglob("*") if path.is_file() and path.name != ".swept"]

    @property
    def client(self):
        return storages["blobs"].connection.meta.client

    def staged(self) -> list[str]:
        """The objects that are no blobs."""
        found = self.client.list_objects_v2(Bucket=storages["blobs"].bucket_name, Prefix="hub/incoming/")
        return [row["Key"] for row in found.get("Contents", ())]


@pytest.fixture(scope="session")
def s3_session():
    """What is costly to make of a client."""
    import boto3

    return boto3.Session("test", "test", region_name="us-east-1")


@pytest.fixture
def hosts(settings, tmp_path, monkeypatch, s3_address, s3_session) -> Hosts:
    """Hosts over an empty bucket."""
    from storages.backends.s3 import S3Storage

    monkeypatch.setattr(S3Storage, "_create_session", lambda self: s3_session)
    options = {"bucket_name": f"hub-{uuid.uuid4().hex}", "location": "hub", "endpoint_url": s3_address}
    backend = {"BACKEND": "storages.backends.s3.S3Storage", "OPTIONS": options}
    settings.STORAGES = {**settings.STORAGES, "blobs": backend}
    settings.SPOOL_FOLDER = tmp_path / "spool"
    settings.SPOOL_FOLDER.mkdir()
    settings.UPLOAD_FOLDER = tmp_path / "uploads"
    made = Hosts(settings, tmp_path)
    made.client.create_bucket(Bucket=options["bucket_name"])
    return made
