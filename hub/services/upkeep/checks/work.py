"""Jobs in states that the transition table can't lead to, their inputs and results, and rows of the outbox."""

from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from itertools import chain

from django.db.models import F

from hub.models import FINAL, HELD, Evaluation, Job, JobFile, JobInput, Outbox, State, clock
from hub.services.jobs.lease import LONGEST_PUT_OFF
from hub.services.outbox import LONGEST_DELAY, topics
from hub.services.upkeep import batches
from hub.services.upkeep.checks.finding import Finding, Look


def check(look: Look) -> Iterator[Finding]:
    """Every job with what it reads and made, every evaluation, every row of the outbox that waits."""
    for job in chain.from_iterable(batches.rows(Job.objects.defer("outcome", "figures", "recipe"))):
        look.tick("jobs")
        if any(_states(job)):
            current = Job.objects.filter(pk=job.pk).first()  # A worker may have moved it in between.
            yield from _states(current) if current else ()
    yield from _inputs(look)
    yield from _files(look)
    yield from _evaluations(look)
    yield from _outbox(look)


def _states(job: Job) -> Iterator[Finding]:
    def found(code: str, message: str, repair: str = "", **values: object) -> Finding:
        same = Job.objects.filter(pk=job.pk, state=job.state, attempt=job.attempt)
        mend = partial(same.update, **values) if values else None
        return Finding(code=code, where=f"job {job.pk}", message=message, repair=repair, mend=mend)

    now = clock.read()
    if job.state not in State.values:
        failed = {"state": State.FAILED, "finished_at": now, "lease_until": None}
        error = {"code": "job.state", "message": "Its row had an unknown state; start it again."}
        yield found(
            "job.state", f"its state is {job.state!r}", "fail it, so that it can be retried", error=error, **failed
        )
    if job.state in HELD and (job.lease_until is None or not job.worker or not job.attempt):
        repair = "let its lease end now, so that the reaper takes it back"
        yield found("job.lease", f"it is {job.state} without a worker's lease", repair, lease_until=now)
    if job.state == State.QUEUED and job.lease_until is not None and job.lease_until > now + 2 * LONGEST_PUT_OFF:
        message = f"it is put off until {job.lease_until:%Y-%m-%d %H:%M}, longer than any fault puts a job off"
        yield found("job.lease", message, "let it run now", lease_until=None)
    if job.state in FINAL and job.lease_until is not None:
        yield found("job.lease", f"it is {job.state} and holds a lease", "end the lease", lease_until=None)
    if job.state in FINAL and job.finished_at is None:
        yield found("job.end", f"it is {job.state} without an end", "note now as its end", finished_at=now)
    if job.state == State.DONE and job.attempt == 0:
        yield found("job.attempt", "it is done, and no worker ever claimed it")
    if job.result_id and (job.output_id is None or job.result.repository_id != job.output_id):
        yield found("job.result", f"its result {job.result} is not in its output repository")


def _inputs(look: Look) -> Iterator[Finding]:
    wrong = JobInput.objects.exclude(digest=F("version__content_digest"))
    for row in chain.from_iterable(batches.rows(wrong.select_related("job", "version__repository__namespace"))):
        look.tick("job inputs")
        message = f"its input {row.version} has another content digest than when it was queued"
        yield Finding(code="job.input", where=f"job {row.job_id}", message=message)


def _files(look: Look) -> Iterator[Finding]:
    held = JobFile.objects.filter(job__state=State.DONE, blob__isnull=False)
    wrong = JobFile.objects.filter(blob__isnull=False).exclude(digest=F("blob_id"))
    for row in chain.from_iterable(batches.rows(held)):
        look.tick("job files")
        mend = partial(held.filter(pk=row.pk).update, blob=None)
        message = f"it is done and still holds its private file {row.name}"
        yield Finding(code="job.file", where=f"job {row.job_id}", message=message, repair="let go of it", mend=mend)
    for row in chain.from_iterable(batches.rows(wrong)):
        message = f"its file {row.name} is not the one that was fixed when it was queued"
        yield Finding(code="job.file", where=f"job {row.job_id}", message=message)


def _evaluations(look: Look) -> Iterator[Finding]:
    wrong = Evaluation.objects.exclude(dataset_digest=F("dataset__content_digest")).filter(
        dataset__repository__purged_at=None
    )
    for row in chain.from_iterable(batches.rows(wrong)):
        look.tick("evaluations")
        message = f"it names the digest {row.dataset_digest}, which {row.dataset} does not have"
        yield Finding(code="evaluation.dataset", where=f"evaluation {row.pk}", message=message)


def _outbox(look: Look) -> Iterator[Finding]:
    now = clock.read()
    waiting = Outbox.objects.filter(sent_at=None)
    never = waiting.filter(next_at__gt=now + timedelta(seconds=2 * LONGEST_DELAY))
    for row in chain.from_iterable(batches.rows(never)):
        look.tick("outbox")
        mend = partial(never.filter(pk=row.pk).update, next_at=now)
        message = f"it waits until {row.next_at:%Y-%m-%d %H:%M}, longer than any delay"
        yield Finding(code="outbox.delay", where=f"outbox {row.pk}", message=message, repair="send it now", mend=mend)
    for topic in waiting.exclude(topic__in=topics()).values_list("topic", flat=True).distinct().order_by("topic"):
        message = "this release has no handler for it; its rows wait for one that has"
        yield Finding(code="outbox.topic", where=f"topic {topic}", message=message)
