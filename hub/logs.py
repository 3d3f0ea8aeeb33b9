"""What every line of the log carries: the request or the job it belongs to.

A request has an id, which the answer's `X-Request-ID` and the page of an error repeat. `HUB_LOG_FORMAT=json` writes one
JSON object a line, for programs; `text` is for people.
"""

import logging
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_request: ContextVar[str] = ContextVar("request", default="")
_job: ContextVar[str] = ContextVar("job", default="")


def new_id() -> str:
    """An id for a request: 16 hex digits."""
    return uuid.uuid4().hex[:16]


def request_id() -> str:
    """The id of the request that this thread serves; "" outside of one."""
    return _request.get()


@contextmanager
def in_request(name: str) -> Iterator[None]:
    """Lines of the block belong to this request."""
    token = _request.set(name)
    try:
        yield
    finally:
        _request.reset(token)


@contextmanager
def in_job(pk: int, attempt: int) -> Iterator[None]:
    """Lines of the block belong to this attempt at a job."""
    token = _job.set(f"{pk}.{attempt}")
    try:
        yield
    finally:
        _job.reset(token)


class InContext(logging.Filter):
    """Gives each record `request` and `job` ("12.1" is job 12, attempt 1), and `where` with both, for people."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.request, record.job = _request.get(), _job.get()
        parts = (f"{name}={value}" for name, value in (("request", record.request), ("job", record.job)) if value)
        record.where = "".join(f" [{part}]" for part in parts)
        return True


def configuration(*, form: str, level: str) -> dict:
    """Django's LOGGING: everything to standard error, in one form. An error that a client made is one line."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "filters": {"context": {"()": "hub.logs.InContext"}},
        "formatters": {
            "text": {"format": "{asctime} {levelname:7} {name}: {message}{where}", "style": "{"},
            "json": {
                "()": "pythonjsonlogger.json.JsonFormatter",
                "format": "{asctime}{levelname}{name}{message}{request}{job}",
                "style": "{",
                "rename_fields": {"asctime": "time", "levelname": "level", "name": "logger"},
            },
        },
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": form, "filters": ["context"]}},
        "root": {"handlers": ["stderr"], "level": level},
        "loggers": {
            "django": {"handlers": [], "propagate": True},
            "django.request": {"level": "ERROR"},
            "django.security": {"level": "ERROR"},
        },
    }
