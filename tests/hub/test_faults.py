"""Which errors pass by themselves: they put a job off and answer 503; all others are somebody's fault."""

import errno

import pytest
from botocore.exceptions import (
    ClientError,
    ConnectionClosedError,
    ConnectTimeoutError,
    EndpointConnectionError,
    IncompleteReadError,
    NoCredentialsError,
    ReadTimeoutError,
    ResponseStreamingError,
)
from django.db import DataError, IntegrityError, InterfaceError, OperationalError
from django.test import Client
from s3transfer.exceptions import RetriesExceededError

from hub import access, faults


def s3(status: int, code: str = "X") -> ClientError:
    return ClientError({"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}, "PutObject")


def chained(cause: Exception) -> Exception:
    error = ValueError("outer")
    error.__cause__ = cause
    return error


PASSING = {
    "connection lost": (OperationalError("server closed the connection unexpectedly"), "database can't be reached"),
    "cursor of a lost connection": (InterfaceError("connection already closed"), "database can't be reached"),
    "SQLite's writer waited too long": (OperationalError("database is locked"), "database is busy"),
    "SQLite on a full disk": (OperationalError("database or disk is full"), "disk is full"),
    "full disk": (OSError(errno.ENOSPC, "No space left on device"), "disk is full"),
    "full disk, said by a writer in Rust": (RuntimeError("I/O error: No space left on device (os error 28)"), "full"),
    "bad disk": (OSError(errno.EIO, "Input/output error"), "disk can't be read"),
    "refused": (ConnectionRefusedError(errno.ECONNREFUSED, "refused"), "store can't be reached"),
    "S3 away": (EndpointConnectionError(endpoint_url="http://s3"), "store can't be reached"),
    "S3 slow": (ReadTimeoutError(endpoint_url="http://s3"), "store can't be reached"),
    "S3 says 503": (s3(503, "SlowDown"), "store can't be reached"),
    "S3 says 429": (s3(429), "store can't be reached"),
    "S3 says 500": (s3(500, "InternalError"), "store can't be reached"),
    "S3 waited too long for a body": (s3(400, "RequestTimeout"), "store can't be reached"),
    "S3 got a damaged body": (s3(400, "BadDigest"), "store can't be reached"),
    "S3 hung": (ConnectTimeoutError(endpoint_url="http://s3"), "store can't be reached"),
    "S3 hung up": (ConnectionClosedError(endpoint_url="http://s3"), "store can't be reached"),
    "S3 broke off": (ResponseStreamingError(error="cut"), "store can't be reached"),
    "half an object": (IncompleteReadError(actual_bytes=1, expected_bytes=2), "store can't be reached"),
    "after several tries": (RetriesExceededError(ReadTimeoutError(endpoint_url="http://s3")), "store can't be reached"),
    "the cause of another": (chained(OSError(errno.ENOSPC, "full")), "disk is full"),
    "the cause of a cause": (chained(chained(s3(503))), "store can't be reached"),
}
LASTING = {
    "wrong value": DataError("integer out of range"),
    "double row": IntegrityError("duplicate key"),
    "missing table": OperationalError("no such table: hub_job"),
    "missing file": FileNotFoundError(errno.ENOENT, "No such file"),
    "no right": PermissionError(errno.EACCES, "Permission denied"),
    "other bytes than the digest says": OSError("the store holds other bytes under ab"),
    "S3 says 404": s3(404, "NoSuchKey"),
    "S3 says 403": s3(403, "AccessDenied"),
    "no such bucket": s3(404, "NoSuchBucket"),
    "a wrong key": s3(403, "InvalidAccessKeyId"),
    "no key": NoCredentialsError(),
    "after several tries, a wrong key": RetriesExceededError(s3(403, "SignatureDoesNotMatch")),
    "our bug": KeyError("x"),
    "our bug, while another error was handled": ValueError("y"),
}
LASTING["our bug, while another error was handled"].__context__ = OSError(errno.ENOSPC, "full")


@pytest.mark.parametrize("case", PASSING)
def test_it_passes_by_itself(case):
    error, words = PASSING[case]
    assert words in faults.passing(error)


@pytest.mark.parametrize("case", LASTING)
def test_it_stays(case):
    assert faults.passing(LASTING[case]) == ""


@pytest.mark.django_db
@pytest.mark.parametrize("path", ["/api/v1/bases", "/bases"])
def test_a_request_is_answered_with_503_and_when_to_come_back(monkeypatch, path):
    def fail(*_, **__):
        raise PASSING["connection lost"][0]

    monkeypatch.setattr(access, "viewer_of", fail)
    monkeypatch.setattr("hub.queries.bases", fail)
    answer = Client(raise_request_exception=False).get(path)
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, str(faults.SECONDS_TO_RETRY))
    assert "in a moment" in answer.content.decode()
