"""The workers' Celery app: `celery -A workers.app worker -P solo -Q cpu --without-mingle --without-gossip`.

One process a worker (torch and fork don't mix), one message at a time, acknowledged after the work. The queue carries
only ids; the claim in the database decides whether there is work, so an extra message does no harm. There is no beat
and no result backend: every worker's heartbeat thread reaps, and results are rows.
"""

import os

from celery import Celery, signals
from django.conf import settings

from hub import broker
from workers.listening import consumer

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "hub.settings")
# Weights come from this machine's disks; a worker never contacts a foreign server.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# Threads that wait for each other sleep instead of spinning: next to busy neighbours that is twenty times cheaper.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

app = Celery("workers", broker=settings.REDIS_URL, include=["workers.tasks"])
app.conf.update(
    worker_pool="solo",
    worker_concurrency=1,
    worker_prefetch_multiplier=1,
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    task_ignore_result=True,
    task_serializer="json",
    accept_content=["json"],
    task_default_queue=broker.CPU,
    task_create_missing_queues=True,
    broker_transport_options=broker.transport_options(),
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,  # for ever: a worker without its broker still finds jobs
    worker_hijack_root_logger=False,
    worker_enable_remote_control=False,
    worker_send_task_events=False,
)
consumer.prepare(app)


@signals.celeryd_after_setup.connect
def open_worker(sender, instance, **_):
    """Make this process's worker, and read its own queue as well as those of the command line (`-Q cpu,gpu`)."""
    from workers.worker import open_this_worker

    worker = open_this_worker(list(instance.app.amqp.queues.consume_from))
    instance.app.amqp.queues.select_add(broker.direct_queue(worker.name))


@signals.worker_ready.connect
def start_heartbeat(**_):
    """Start the heartbeat, which shows the worker on its page."""
    from workers.listening.search import Search
    from workers.worker import this_worker

    worker = this_worker()
    worker.heartbeat.watch, worker.heartbeat.search = worker.watch, Search(worker)
    worker.heartbeat.start()


@signals.task_prerun.connect
def take_message(**_):
    """The main thread handles a message; it can't listen meanwhile, and isn't blamed for that."""
    from workers.worker import this_worker

    this_worker().has_message = True


@signals.task_postrun.connect
def end_message(**_):
    """The main thread listens again."""
    from workers.worker import this_worker

    this_worker().watch.tick()
    this_worker().has_message = False


@signals.worker_shutting_down.connect
def stop_softly(**_):
    """On SIGTERM, give the current job back to the queue without counting it as lost."""
    from workers.worker import this_worker

    this_worker().heartbeat.stop_work()


@signals.worker_shutdown.connect
def close_worker(**_):
    """Take the worker off the page at once."""
    from workers.worker import this_worker

    heartbeat = this_worker().heartbeat
    heartbeat.stop_work()
    if heartbeat.search is not None:
        heartbeat.search.wait()
    heartbeat.close()
