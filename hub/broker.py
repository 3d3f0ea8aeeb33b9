"""The hub's end of the queue: sends a job's id, and nothing else, to the workers; knows their tasks by name only.

Deliveries are hints. A job is claimed in the database, so an id that arrives twice, late or for a cancelled job does
nothing, and one that is lost with its worker is sent again by the reaper, which looks here at what still waits.
"""

import contextlib
import json
import logging
import time
from base64 import b64decode
from collections.abc import Collection
from functools import cache

import redis
from celery import Celery
from django.conf import settings
from kombu.exceptions import OperationalError
from redis.backoff import NoBackoff
from redis.retry import Retry

TASK = "workers.tasks.run_job"
DRAIN = "workers.tasks.drain_outbox"
CPU, GPU = "cpu", "gpu"
SECONDS_TO_CONNECT = 2
# A broker that takes longer to answer is hanging: whoever asked goes on without it.
SECONDS_TO_ANSWER = 2
# The longest that a watcher of a job waits for its next event, and a little more.
SECONDS_TO_LISTEN = 40
SCAN = 10_000
# Set while a message to drain the outbox waits, so that a busy hub queues one a minute and not one a row.
WOKEN, SECONDS_WOKEN = "hub:outbox:woken", 60
# After a failure nobody is woken for this long, so that a dead Redis doesn't slow every write.
SECONDS_AWAY = 5.0

_away_until = 0.0

log = logging.getLogger(__name__)


def transport_options() -> dict:
    """What hub and workers must agree on. A message is redelivered by Redis itself only after the visibility timeout:
    far beyond any job, since the lease and the reaper bring back a dead worker's job within seconds."""
    return {
        "visibility_timeout": settings.BROKER_VISIBILITY_SECONDS,
        "socket_connect_timeout": SECONDS_TO_CONNECT,
        "socket_timeout": SECONDS_TO_ANSWER,
        "socket_keepalive": True,
    }


def direct_queue(worker: str) -> str:
    """The queue that only this worker reads, for jobs whose base not every worker holds."""
    return f"worker.{worker}"


@cache
def producer() -> Celery:
    """A Celery client that only sends."""
    app = Celery("hub", broker=settings.REDIS_URL, set_as_current=False)
    app.conf.update(
        task_ignore_result=True,
        task_serializer="json",
        accept_content=["json"],
        task_create_missing_queues=True,
        # Whoever sends goes on at once without a broker that refuses: a worker finds the job in the database.
        broker_transport_options=transport_options() | {"max_retries": 0},
        broker_connection_timeout=SECONDS_TO_CONNECT,
        broker_connection_retry=False,
    )
    return app


def send(job_id: int, queue: str) -> bool:
    """Put the id into `queue`; False where the broker can't be reached: an idle worker finds it in the database."""
    if time.monotonic() < _away_until:
        return False
    try:
        producer().send_task(TASK, args=[job_id], queue=queue, retry=False, ignore_result=True)
    except (OperationalError, redis.RedisError, OSError) as error:
        _went_away()
        log.warning("job %s waits for a worker to find it, the broker is away: %s", job_id, error)
        return False
    return True


def wake_drainer() -> None:
    """Ask a worker to drain the outbox, unless one has been asked and hasn't begun; without Redis the sweep does it."""
    if time.monotonic() < _away_until:
        return
    try:
        if client().set(WOKEN, 1, nx=True, ex=SECONDS_WOKEN):
            producer().send_task(DRAIN, queue=CPU, expires=SECONDS_WOKEN, retry=False, ignore_result=True)
    except (OperationalError, redis.RedisError, OSError) as error:
        _went_away()
        log.warning("the outbox waits for the workers' sweep, the broker is away: %s", error)


def _went_away() -> None:
    global _away_until
    _away_until = time.monotonic() + SECONDS_AWAY


def drainer_woke() -> None:
    """Note that a drainer begins: rows written from now on need another one."""
    with contextlib.suppress(redis.RedisError):
        client().delete(WOKEN)


def waiting(queues: set[str]) -> set[int] | None:
    """Ids of the jobs that still wait in these queues; None where the broker can't be reached."""
    found: set[int] = set()
    try:
        for queue in queues:
            for raw in client().lrange(queue, 0, SCAN):
                with contextlib.suppress(ValueError, LookupError, TypeError):
                    found.add(int(json.loads(b64decode(json.loads(raw)["body"]))[0][0]))
    except redis.RedisError:
        return None
    return found


def depths(queues: Collection[str]) -> dict[str, int] | None:
    """How many messages wait in each of these queues; None where the broker can't be reached."""
    pipe = client().pipeline(transaction=False)
    for queue in queues:
        pipe.llen(queue)
    try:
        return dict(zip(queues, pipe.execute(), strict=True))
    except (redis.RedisError, OSError):
        return None


def forget_worker(worker: str) -> None:
    """Remove a dead worker's own queue from the broker."""
    queue = direct_queue(worker)
    with contextlib.suppress(redis.RedisError):
        client().delete(queue, f"_kombu.binding.{queue}")


def prompt_client() -> redis.Redis:
    """Redis for what a person waits for: it gives up within seconds where `client` would wait for a hung server."""
    return _prompt_client(settings.REDIS_URL)


@cache
def _prompt_client(url: str) -> redis.Redis:
    return redis.Redis.from_url(
        url,
        decode_responses=True,
        socket_connect_timeout=SECONDS_TO_CONNECT,
        socket_timeout=SECONDS_TO_CONNECT,
        # A connection that the server has closed meanwhile is opened anew, once; a server that hangs is given up.
        retry=Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,)),
    )


@cache
def client() -> redis.Redis:
    """Redis itself, with short patience: what asks it must go on without it."""
    return _redis(settings.REDIS_URL, SECONDS_TO_ANSWER)


def listener() -> redis.Redis:
    """Redis for reads that wait for something to come."""
    return _redis(settings.REDIS_URL, SECONDS_TO_LISTEN)


@cache
def _redis(url: str, patience: float) -> redis.Redis:
    return redis.Redis.from_url(
        url,
        decode_responses=True,
        socket_connect_timeout=SECONDS_TO_CONNECT,
        socket_timeout=patience,
        health_check_interval=30,
        # One more try at once, for a connection that was closed since its last use; none where it hangs.
        retry=Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,)),
    )
