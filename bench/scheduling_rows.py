"""What `scheduling.py` measures in a process with one database's settings. Not run by itself."""

import os
import shutil
import statistics
import subprocess
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
JOBS, USERS, WORKERS = 1000, 200, 100
GOAL_MS, GOAL_QUERIES = 50.0, 10


def measure(name: str, quick: bool) -> list[dict]:
    """Every row of the database that the environment names."""
    import django

    django.setup()
    from django.core.management import call_command

    call_command("migrate", interactive=False, verbosity=0)
    rounds = 3 if quick else 15
    rows = [*reaper_rows(rounds), *claim_rows(rounds), *fairness_rows()]
    rows += merge_rows((1, 2) if quick else (1, 2, 4), 16 if quick else 100)
    return [row | {"case": f"{name}: {row['case']}"} for row in rows]


def row(case: str, peer: str, ours: float, theirs: float, unit: str, ratio: float) -> dict:
    return {"case": case, "peer": peer, "ours": ours, "theirs": theirs, "unit": unit, "ratio": ratio}


def fill() -> None:
    """Users with a namespace each, waiting jobs of theirs, and workers that only are rows."""
    from django.utils import timezone

    from hub.models import Job, Namespace, User, WorkerNode

    Job.objects.all().delete()
    WorkerNode.objects.all().delete()
    if not User.objects.filter(username="u0").exists():
        User.objects.bulk_create(User(username=f"u{n}", email=f"u{n}@example.org") for n in range(USERS))
        people = list(User.objects.filter(username__startswith="u"))
        Namespace.objects.bulk_create(Namespace(name=one.username, owner=one) for one in people)
    places = list(Namespace.objects.filter(name__startswith="u").select_related("owner"))
    now, long_ago = timezone.now(), timezone.now() - timedelta(hours=1)
    Job.objects.bulk_create(
        Job(kind="svd", need="cpu", created_by=one.owner, output_namespace=one, output_name=f"m{n}", sent_at=long_ago)
        for n, one in enumerate(places * (JOBS // USERS))
    )
    environment = {"torch": "2.13.0", "device": "cpu"}
    about = {"device": "cpu", "queues": ["cpu"], "environment": environment, "started_at": now, "seen_at": now}
    WorkerNode.objects.bulk_create(WorkerNode(name=f"w{n}", bases=list(range(20)), **about) for n in range(WORKERS))


class Cost:
    """What a call costs, over several: CPU of this process and of PostgreSQL's behind it, and the most queries."""

    def __init__(self) -> None:
        self.seconds, self.calls, self.queries = 0.0, 0, 0

    def count(self, what: Callable[[], object], *, warm: bool = True) -> None:
        """Call it; without `warm` it counts nothing."""
        from django.db import connection
        from django.test.utils import CaptureQueriesContext

        with CaptureQueriesContext(connection) as queries:
            began = cpu()
            what()
            took = cpu() - began
        if warm:
            self.queries = max(self.queries, len(queries))
            self.seconds, self.calls = self.seconds + took, self.calls + 1

    def rows(self, case: str, queries: int) -> list[dict]:
        """Two rows beside the goals."""
        ms = 1000 * self.seconds / self.calls
        return [
            row(case, "the goal", ms, GOAL_MS, "CPU ms", GOAL_MS / ms),
            row(case, "the goal", self.queries, queries, "queries", queries / self.queries),
        ]


def cpu() -> float:
    """CPU seconds of this process, and of the server's process that answers it where that runs here."""
    from django.db import connection

    pid = connection.connection.info.backend_pid if connection.vendor == "postgresql" else 0
    stat = Path(f"/proc/{pid}/stat")
    ticks = sum(map(int, stat.read_text().rpartition(")")[2].split()[11:13])) if pid and stat.exists() else 0
    return time.process_time() + ticks / os.sysconf("SC_CLK_TCK")


def reaper_rows(rounds: int) -> list[dict]:
    """A round of the reaper: with all ids in the broker's queue, and after the broker has lost them."""
    from django.utils import timezone

    from hub import broker
    from hub.models import Job, UpkeepTask
    from hub.services.jobs import reaper

    fill()
    costs: dict[str, Cost] = defaultdict(Cost)
    sent = 0
    for number in range(rounds + 1):
        for case, at in (("the broker lost its queue", None), ("all is well", timezone.now())):
            broker.client().flushdb()
            Job.objects.update(sent_at=at)
            UpkeepTask.objects.filter(name=reaper.REAPER).update(lease_until=None)
            costs[case].count(reaper.run_due, warm=number > 0)
            sent = max(sent, broker.client().llen("cpu"))
    print(f"after the broker lost its queue, {sent} messages wake {WORKERS} workers")
    return [one for case, cost in costs.items() for one in cost.rows(f"reaper, {case}", GOAL_QUERIES)]


def claim_rows(rounds: int) -> list[dict]:
    """A worker's claim of the job whose turn it is, the turn of one that finds nothing, and an idle worker's look."""
    from hub.services.jobs import turns

    fill()
    taker = turns.Taker(worker="w0", queues=["cpu"], holds=set)
    blind = turns.Taker(worker="w1", queues=["gpu"], holds=set)
    cases = {
        "a claim": lambda: turns.take(taker),
        "a worker that can run none": lambda: turns.take(blind),
        "an idle worker's look": lambda: turns.is_overlooked(blind),
    }
    found = []
    for case, act in cases.items():
        cost = Cost()
        for number in range(4 * rounds):
            cost.count(act, warm=number > 0)
        found += cost.rows(case, 2 * GOAL_QUERIES)
    return found


def fairness_rows(workers: int = 4) -> list[dict]:
    """How long jobs wait, in jobs' lengths: one user queues 50, then nine queue five each; and an organisation."""
    from hub.models import Job, Namespace, User
    from hub.services.jobs import lease, turns

    fill()
    Job.objects.all().delete()
    people = list(User.objects.filter(username__startswith="u").order_by("pk")[:20])
    lab = Namespace.objects.filter(name="u19").get()
    asked = [(people[0], None)] * 50 + [(one, None) for _ in range(5) for one in people[1:10]]
    asked += [(one, lab) for _ in range(5) for one in people[10:20]]
    # A length of one unit each; at every unit the workers end theirs and take what comes next.
    jobs = Job.objects.bulk_create(Job(kind="svd", need="cpu", created_by=a, output_namespace=b) for a, b in asked)
    waited, busy, now = {}, [], 0
    while len(waited) < len(jobs):
        for job in busy:
            lease.fail(job_id=job.pk, attempt=job.attempt, error={"code": "bench", "message": "over"})
        taken = [turns.take(turns.Taker(worker=f"w{n}", queues=["cpu"], holds=set)) for n in range(workers)]
        busy = [job for job in taken if job is not None]
        waited |= {job.pk: now for job in busy}
        now += 1
    groups = {"one who queued 50": jobs[:50], "nine who queued 5 each": jobs[50:95], "ten of one namespace": jobs[95:]}
    line = {job.pk: n // workers for n, job in enumerate(jobs)}
    found = []
    for group, theirs in groups.items():
        ours, first = (statistics.mean(of[job.pk] for job in theirs) for of in (waited, line))
        found.append(row(f"waiting of {group}", "first come", ours, first, "jobs' lengths", first / max(ours, 0.01)))
    return found


def merge_rows(numbers: tuple[int, ...], jobs: int) -> list[dict]:
    """Tiny merges a minute with so many real workers; the peer is one worker times their number."""
    one, found = 0.0, []
    for number in numbers:
        rate = merges_a_minute(number, jobs)
        one = one or rate
        case = f"tiny merges, {number} worker{'s' * (number > 1)}"
        found.append(row(case, "one worker × workers", rate, one * number, "a minute", rate / (one * number)))
    return found


def merges_a_minute(number: int, jobs: int) -> float:
    from django.db.models import Max, Min

    from hub import broker
    from hub.models import Job, State, WorkerNode
    from hub.runtime.site import worker_command
    from hub.services.jobs.queue import queue_job
    from hub.services.jobs.request import JobRequest
    from tests.hub import factories

    Job.objects.all().delete()
    WorkerNode.objects.all().delete()
    broker.client().flushdb()
    user = factories.make_user(f"merger{number}")
    base = factories.make_base(f"pico/bench{number}")
    pair = tuple(factories.make_version(user, f"a{n}", base=base, seed=n) for n in range(2))
    folder = Path(tempfile.mkdtemp(prefix="scheduling-workers-"))
    started = []
    try:
        for n in range(number):
            mine = os.environ | {"HUB_WORKER_CACHE": str(folder / "cache")}
            log = (folder / f"{n}.log").open("wb")
            started.append(subprocess.Popen(worker_command(f"bench{n}"), env=mine, cwd=ROOT, stdout=log, stderr=log))
        wait_for(lambda: WorkerNode.objects.count() == number, 180)
        for n in range(jobs):
            asked = JobRequest(
                kind="svd", recipe={"rank": 2}, inputs={"adapter": pair}, output=(user.username, f"m{n}")
            )
            queue_job(actor=user, request=asked)
        wait_for(lambda: not Job.objects.exclude(state=State.DONE).exists(), 600)
    finally:
        for process in started:
            process.terminate()
        for process in started:
            process.wait(30)
        shutil.rmtree(folder, ignore_errors=True)
    times = Job.objects.aggregate(Min("started_at"), Max("finished_at"))
    return 60 * jobs / (times["finished_at__max"] - times["started_at__min"]).total_seconds()


def wait_for(true: Callable[[], bool], seconds: float) -> None:
    until = time.monotonic() + seconds
    while not true():
        if time.monotonic() > until:
            raise SystemExit(f"nothing came of it in {seconds} s")
        time.sleep(0.2)
