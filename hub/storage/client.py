"""The S3 client of this process: django-storages' settings, one client for all threads, and bounded waiting.

boto3 tries a request three times ("standard" mode: with back-off, and ever fewer tries while most fail). Where several
requests in a row got no connection or no answer, the others of this process are refused at once for a moment, and one
at a time tries again: so a store that hangs holds up a few threads for seconds, and never all of them for minutes.
"""

import os
import threading
import time

from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import ConnectionError as NoConnection
from botocore.exceptions import EndpointConnectionError, HTTPClientError
from storages.backends.s3 import S3Storage

from hub.storage.timeouts import no_os_error

CONNECT_SECONDS, READ_SECONDS, TRIES = 4, 30, 3
CONNECTIONS = 64
# Requests in a row without any answer, before the store counts as away; and for how long it does then.
FAILURES, PAUSE_SECONDS = 3, 1.0
# The request that tries then is followed by another only after so long: a store that hangs holds each for minutes.
SECONDS_A_TRY = 10.0
PART = 8 << 20  # bytes of a part of a large object
SENDERS = 4  # parts on their way at once


class ObjectStorage(S3Storage):
    """django-storages' S3 with a client that threads share. `public_endpoint` is where clients reach the store."""

    def __init__(self, *, public_endpoint: str = "", **options: object) -> None:
        super().__init__(**options)
        self.public_endpoint = public_endpoint
        self.client_config = self.client_config.merge(
            Config(
                # Left open, addresses would be signed in the way of before 2014, which most stores refuse by now.
                signature_version=self.signature_version or "s3v4",
                connect_timeout=CONNECT_SECONDS,
                read_timeout=READ_SECONDS,
                retries={"mode": "standard", "total_max_attempts": TRIES},
                max_pool_connections=CONNECTIONS,
                tcp_keepalive=True,
            )
        )
        self.transfer_config = TransferConfig(
            multipart_threshold=PART, multipart_chunksize=PART, max_concurrency=SENDERS
        )
        # Parts that were read and wait for a connection; each takes memory.
        self.transfer_config.max_in_memory_upload_chunks = SENDERS
        self._opening = threading.Lock()
        self._opened: dict[str, tuple[int, object]] = {}

    @property
    def connection(self):
        """The resource of this process: threads share it, a forked process makes its own."""
        return self._resource(self.endpoint_url)

    @property
    def signing_client(self):
        """The client that signs addresses for who is outside."""
        return self._resource(self.public_endpoint or self.endpoint_url).meta.client

    def _resource(self, endpoint: str | None):
        pid, resource = self._opened.get(endpoint, (0, None))
        if pid == os.getpid():
            return resource
        with self._opening:
            pid, resource = self._opened.get(endpoint, (0, None))
            if pid != os.getpid():
                resource = self._create_session().resource(
                    "s3",
                    region_name=self.region_name,
                    use_ssl=self.use_ssl,
                    endpoint_url=endpoint,
                    config=self.client_config,
                    verify=self.verify,
                )
                Patience().watch(resource.meta.client)
                self._opened[endpoint] = (os.getpid(), resource)
        return resource

    def __getstate__(self):
        return super().__getstate__() | {"_opening": None, "_opened": {}}

    def __setstate__(self, state):
        super().__setstate__(state | {"_opening": threading.Lock()})


class Patience:
    """Refuses requests at once while the store is known to be away, but for one at a time that tries."""

    def __init__(self) -> None:
        self.failures, self.until = 0, 0.0
        self._lock = threading.Lock()

    def watch(self, client) -> None:
        """Hear of every request of a client."""
        self.endpoint = client.meta.endpoint_url
        client.meta.events.register("before-call.s3", self._before)
        client.meta.events.register("after-call.s3", self._answered)
        client.meta.events.register("after-call-error.s3", self._failed)

    def _before(self, **_: object) -> None:
        with self._lock:
            if self.failures < FAILURES:
                return
            now = time.monotonic()
            if now < self.until:
                raise EndpointConnectionError(endpoint_url=self.endpoint)
            self.until = now + SECONDS_A_TRY  # This one tries; the others wait for what it finds.

    def _answered(self, **_: object) -> None:
        self.failures = 0

    def _failed(self, *, exception: Exception, **_: object) -> None:
        with self._lock:
            if isinstance(exception, NoConnection | HTTPClientError):
                self.failures += 1
            self.until = time.monotonic() + PAUSE_SECONDS
        if (plain := no_os_error(exception)) is not exception:
            raise plain from exception
