"""Faults that pass by themselves: the database or the store is away for a moment, a disk is full until somebody acts.

Nobody who asked for something can mend them, and trying again later does. So a request is answered with 503, and a job
is tried again; what is wrong for good (a missing row, other bytes than the digest says) is none of them.
"""

import contextlib
import errno
import logging
import sys
from collections.abc import Iterator

from django.db import InterfaceError, OperationalError

PASSING = {
    errno.ENOSPC: "A disk is full",
    errno.EDQUOT: "A disk quota is used up",
    errno.EIO: "A disk can't be read or written",
    errno.EROFS: "A disk has become read-only",
    errno.ESTALE: "A network disk has gone away",
    errno.EMFILE: "Too many files are open",
    errno.ENFILE: "Too many files are open",
    errno.ETIMEDOUT: "The store did not answer in time",
    errno.ECONNREFUSED: "The store can't be reached",
    errno.ECONNRESET: "The store closed the connection",
    errno.EHOSTUNREACH: "The store can't be reached",
    errno.ENETUNREACH: "The store can't be reached",
    errno.EPIPE: "The store closed the connection",
}
# Writers in C report a full disk as an error of their own, in words.
FULL = ("no space left on device", "disk is full")
AWAY, BUSY = "The database can't be reached", "The database is busy"
# What SQLite says in the same class of errors about a wrong statement.
WRONG = ("no such ", "too many sql variables", "syntax error")
BUSY_STATUS = {408, 429}
# What S3 says with a status of 400 or 403 and means for now: a body that came too slowly or damaged, too many requests.
LATER_CODES = {
    "RequestTimeout",
    "BadDigest",
    "SlowDown",
    "Throttling",
    "ThrottlingException",
    "ThrottledException",
    "RequestThrottled",
    "RequestThrottledException",
    "RequestLimitExceeded",
    "TooManyRequestsException",
    "BandwidthLimitExceeded",
    "PriorRequestNotComplete",
    "OperationAborted",
}
# What a 503 tells its client.
SECONDS_TO_RETRY = 2

log = logging.getLogger(__name__)


def is_databases(error: BaseException) -> bool:
    """True for what a lost, refused or busy database raises; not for what it says about statements and values."""
    wrong = any(words in str(error).lower() for words in WRONG)
    return isinstance(error, OperationalError | InterfaceError) and not wrong


def passing(error: BaseException) -> str:
    """What is wrong, in words without names or paths, if the fault passes by itself; "" if it doesn't.

    What an error was raised from counts, however far back; not what happened to be handled when it was raised.
    """
    return next(filter(None, map(_passing, _with_causes(error))), "")


def is_stores(error: BaseException) -> bool:
    """True for what an object store that is away or busy raises, and for what was raised from that."""
    return any(map(_from_object_store, _with_causes(error)))


def _with_causes(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        yield cause
        seen.add(id(cause))
        cause = cause.__cause__


@contextlib.contextmanager
def spared(what: str) -> Iterator[None]:
    """Around what a read writes besides: where a fault stands in the way, the read goes on, and the server's log says
    `what` was not kept."""
    try:
        yield
    except Exception as error:
        if not (fault := passing(error)):
            raise
        log.warning("%s, so this is not kept: %s", fault, what)


def _passing(error: BaseException) -> str:
    text = str(error).lower()
    if any(words in text for words in FULL):
        return PASSING[errno.ENOSPC]
    if is_databases(error):
        return BUSY if "locked" in text else AWAY
    if isinstance(error, OSError) and error.errno in PASSING:
        return PASSING[error.errno]
    return "The store can't be reached" if _from_object_store(error) else ""


def _from_object_store(error: BaseException) -> bool:
    """True for an S3 client's errors that mean "later": no connection, no answer or half of one, or an answer of 5xx
    or too many. A wrong key and a missing bucket are none of them."""
    botocore = sys.modules.get("botocore.exceptions")
    if botocore is None:
        return False
    if isinstance(error, botocore.ClientError):
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return status >= 500 or status in BUSY_STATUS or error.response.get("Error", {}).get("Code") in LATER_CODES
    if type(error).__name__ == "RetriesExceededError":  # s3transfer's, around the last of several
        return _from_object_store(error.last_exception)
    unanswered = (botocore.HTTPClientError, botocore.ConnectionError, botocore.IncompleteReadError)
    return isinstance(error, (*unanswered, botocore.MetadataRetrievalError))
