"""From a claimed job to its end: LOADING → RUNNING → SAVING → DONE, or the state that its error means.

What each kind of job does is in `workers.kinds`. Here is what they share: whose fault an error is. A user's error
becomes the job's answer; ours is logged with a traceback and the job's id; a database error leaves the job to its
lease, so that it runs again.
"""

import logging

from django.db import InterfaceError, OperationalError

from composition.errors import Cancelled, CompositionError
from hub.errors import HubError
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
    """Run a job that `claim` has returned, and record its end in its row. Raises only what the database raises."""
    attempt = Attempt(job)
    with in_job(job.pk, job.attempt), worker.holding(attempt):
        log.info("job %s (%s), attempt %s", job.pk, job.kind, job.attempt)
        try:
            recheck(job)
            home_of(job).run(attempt, worker)
        except (OperationalError, InterfaceError):
            log.exception("job %s: the database can't be reached; the job runs again when its lease is over", job.pk)
            raise
        except Stopping:
            _try(lease.release, attempt)
        except (LostLease, Cancelled):
            log.info("job %s: attempt %s is over", job.pk, job.attempt)
        except CompositionError as error:
            _try(lease.fail, attempt, error=error.to_dict())
        except HubError as error:
            _try(lease.fail, attempt, error={"code": error.code, "message": error.message, **error.facts})
        except MemoryError:
            _try(lease.fail, attempt, error=_out_of_memory(job))
        except Exception:
            log.exception("job %s (%s), attempt %s failed through our fault", job.pk, job.kind, job.attempt)
            _try(lease.fail, attempt, error=_our_fault(job))


def _try(end, attempt: Attempt, **how: object) -> None:
    """End the attempt, unless it is over already."""
    try:
        end(**attempt.fence, **how)
    except LostLease:
        log.info("job %s: attempt %s is over", attempt.job.pk, attempt.job.attempt)


def _out_of_memory(job: Job) -> dict[str, object]:
    message = "The worker ran out of memory on this job. Make the job smaller, or give the worker more memory."
    return {"code": "worker.memory", "message": message, "job": job.pk}


def _our_fault(job: Job) -> dict[str, object]:
    message = f"Something went wrong on our side. Give an administrator the job's id, {job.pk}; the log has details."
    return {"code": "internal", "message": message, "job": job.pk}
