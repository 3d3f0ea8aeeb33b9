"""A worker in a thread of the test's own process: it claims and runs what is queued until the test is over."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection

from hub import broker
from hub.models import Job


@contextmanager
def working(*, shows_itself: bool = False) -> Iterator[None]:
    """Run queued jobs meanwhile; `shows_itself` registers the worker with what it offers. Settings come first."""
    import torch

    from workers.runner import run
    from workers.worker import Worker

    here, stop = Worker("here", [broker.CPU]), threading.Event()

    def work() -> None:
        while not stop.is_set():
            if shows_itself:
                here.heartbeat.beat()
            for pk in list(Job.objects.filter(state="queued").values_list("pk", flat=True)):
                if job := here.claim(pk):
                    run(job, here)
            stop.wait(0.05)
        connection.close()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        torch.set_num_threads(1)
