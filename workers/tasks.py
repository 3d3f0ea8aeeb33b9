"""A worker's tasks: run a job, drain the outbox. Unknown arguments of later releases are ignored."""

from hub import broker
from hub.services import outbox
from workers.app import app
from workers.runner import run
from workers.worker import this_worker

SECONDS_A_DRAIN = 5.0


@app.task(name="workers.tasks.run_job")
def run_job(job_id: int, **_: object) -> None:
    """Claim the job and run it; do nothing if another worker was first."""
    worker = this_worker()
    with worker.turn:
        job = worker.claim(job_id)
        if job is not None:
            run(job, worker)


@app.task(name=broker.DRAIN)
def drain_outbox(**_: object) -> None:
    """Send what is due, and begin none after a few seconds: slow receivers must not keep a job waiting."""
    broker.drainer_woke()
    outbox.drain(seconds=SECONDS_A_DRAIN)
