"""From a claimed job to its end: LOADING → RUNNING → SAVING → DONE, or the state that its error means.

What each kind of job does is in `workers.kinds`. Here is what they share: whose fault an error is. A user's error
becomes the job's answer; ours is logged with a traceback and the job's id; a fault that passes by itself (the database
or the store away, a disk full) puts the job off, so that it runs again.
"""

import errno
import logging

from composition.errors import Cancelled, CompositionError
from hub import faults
from hub.errors import DiskFull, HubError
from hub.logs import in_job
from hub.models import Job
from hub.services.jobs import lease
from hub.services.jobs.lease import LostLease
from hub.services.jobs.recheck import recheck
from workers.attempt import Attempt, Stopping
from workers.kinds import home_of
from workers.worker import Worker

log = logging.getLogger(__name__)


def run(job: Job, worker: Worker) -> None:
    """Run a job that `claim` has returned, and record its end in its row. Raises only what a database that
    stays away raises: then the job is left to its lease."""
    attempt = Attempt(job)
    with in_job(job.pk, job.attempt), worker.holding(attempt):
        log.info("job %s (%s), attempt %s", job.pk, job.kind, job.attempt)
        try:
            recheck(job)
            home_of(job).run(attempt, worker)
        except Stopping:
            _try(lease.release, attempt)
        except (LostLease, Cancelled):
            log.info("job %s: attempt %s is over", job.pk, job.attempt)
        except CompositionError as error:
            _try(lease.fail, attempt, error=attempt.telling.failure(error.to_dict()))
        except DiskFull:
            _try(lease.put_off, attempt, fault=faults.PASSING[errno.ENOSPC])
        except HubError as error:
            told = {"code": error.code, "message": error.message, **error.facts}
            _try(lease.fail, attempt, error=attempt.telling.failure(told))
        except MemoryError:
            _try(lease.fail, attempt, error=_out_of_memory(job))
        except Exception as error:
            if fault := faults.passing(error):
                log.warning("job %s (%s), attempt %s is put off", job.pk, job.kind, job.attempt, exc_info=error)
                _try(lease.put_off, attempt, fault=fault)
                return
            log.exception("job %s (%s), attempt %s failed through our fault", job.pk, job.kind, job.attempt)
            _try(lease.fail, attempt, error=_our_fault(job))


def _try(end, attempt: Attempt, **how: object) -> None:
    """End the attempt, unless it is over already."""
    try:
        attempt.write(end, **attempt.fence, **how)
    except LostLease:
        log.info("job %s: attempt %s is over", attempt.job.pk, attempt.job.attempt)


def _out_of_memory(job: Job) -> dict[str, object]:
    message = "The worker ran out of memory on this job. Make the job smaller, or give the worker more memory."
    return {"code": "worker.memory", "message": message, "job": job.pk}


def _our_fault(job: Job) -> dict[str, object]:
    message = f"Something went wrong on our side. Give an administrator the job's id, {job.pk}; the log has details."
    return {"code": "internal", "message": message, "job": job.pk}
