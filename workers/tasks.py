"""What the broker can ask of a worker: run a job. Unknown arguments of later releases are ignored."""

from workers.app import app
from workers.runner import run
from workers.worker import this_worker


@app.task(name="workers.tasks.run_job")
def run_job(job_id: int, **_: object) -> None:
    """Claim the job and run it; nothing happens where somebody else was first."""
    worker = this_worker()
    job = worker.claim(job_id)
    if job is not None:
        run(job, worker)
