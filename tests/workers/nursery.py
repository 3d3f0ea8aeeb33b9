"""Workers in processes of their own, quickly: one process imports everything and forks a worker for each line it reads.

A line is JSON: {"output", "cache", "point", "marker"}; the answer is the new process's id. A worker is the real
`celery worker`. At `point`, if given, it halts for ever: production code has no hook for this, the functions
around the point are wrapped from here. Run as `python -m tests.workers.nursery` with a worker's environment; with a
line as its argument, it is that worker itself.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

from celery import signals
from django.conf import settings
from kombu.transport import redis

from workers.app import app

ON_THE_USUAL_QUEUE = ("waiting", "waiting to publish", "deaf", "blind", "dying", "older")


def main() -> None:
    """Import what a worker imports, then fork one a line until the input ends; then end them all."""
    app.loader.import_default_modules()
    import transformers  # noqa: F401

    import composition.formats.peft.read
    import composition.formats.peft.save
    import composition.merging.svd  # noqa: F401

    children = []
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os._exit(work(**json.loads(line)))
        children.append(pid)
        print(pid, flush=True)
    for pid in children:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def work(*, output: str, cache: str, point: str, marker: str) -> int:
    """Be a worker; its exit status."""
    order = {"output": output, "cache": cache, "point": "", "marker": marker}
    # What it was started by, for a worker that replaces itself: the next one has no fault.
    sys.orig_argv = [sys.executable, "-m", "tests.workers.nursery", json.dumps(order)]
    handle = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    settings.WORKER_CACHE = cache
    if point == "older":
        be_of_an_earlier_release()
    arguments = ["worker", "--pool", "solo", "--loglevel", "INFO", "--without-mingle", "--without-gossip"]
    if point and point not in ON_THE_USUAL_QUEUE:
        # It reads its own queue only, so that it gets the job that is meant for it.
        arguments += ["--queues", "halting"]
    if point and point != "older":
        signals.worker_ready.connect(lambda **_: halt_at(point, Path(marker)), weak=False)
    try:
        app.worker_main(arguments)
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def be_of_an_earlier_release() -> None:
    """Know neither the method `svd` nor today's version of the recipe `ties`."""
    from composition.registry import METHODS

    del METHODS["svd"]
    METHODS["ties"].recipe.version -= 1


def halt_at(point: str, marker: Path) -> None:
    """Wrap what surrounds the point, so that this process leaves a mark there and never goes on."""
    import composition.merging.svd
    from hub.services.jobs import results
    from workers import publishing, worker
    from workers.kinds import HOMES, WorkerKind
    from workers.kinds import merge as merging

    def halt(*_, **__):
        marker.touch()
        while True:
            time.sleep(0.05)

    def halt_after(function):
        return lambda *args, **kwargs: (function(*args, **kwargs), halt())

    def halt_but_listen(*_, progress, **__):
        marker.touch()
        while True:
            time.sleep(0.05)
            progress(0.5, "Halting")

    def halt_not(*_, **__):
        marker.touch()

    svd = composition.merging.svd.svd

    def wait_for_go(*args, progress, **kwargs):
        marker.touch()
        while not marker.with_name("go").exists():
            time.sleep(0.05)
            progress(0.5, "Waiting")
        return svd(*args, progress=progress, **kwargs)

    def wait_inside(function):
        def go_on_later(*args, **kwargs):
            result = function(*args, **kwargs)
            marker.touch()
            while not marker.with_name("go").exists():
                time.sleep(0.05)
            return result

        return go_on_later

    match point:
        case "taken":  # the id is taken from the queue, the job not claimed
            worker.Worker.claim = halt
        case "loading":
            merging.adapter_of = halt
        case "running":  # as in one long operation that reports nothing
            composition.merging.svd.svd = halt
        case "reporting":  # as in a loop that reports every step
            composition.merging.svd.svd = halt_but_listen
        case "waiting":  # as in "reporting", until the file `go` is there; then it goes on as usual
            composition.merging.svd.svd = wait_for_go
        case "deaf":  # the main thread hangs, with no job
            redis.Channel._brpop_start = halt
        case "blind":  # the main thread runs, and reads nothing more from the broker
            redis.Channel._brpop_start = halt_not
        case "dying":  # as from want of memory: an SVD kills its worker, whatever else is done by it
            composition.merging.svd.svd = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
        case "distilling":  # a transfer in the middle of its training, a state of it on disk
            halt_in_training(halt)
        case "saving":  # the result is there, nothing written
            publishing.publish_result = halt
        case "publishing":  # inside the transaction, all rows written but the last
            results.publish = halt_after(results.publish)
        case "waiting to publish":  # there, until the file `go` is there
            results.publish = wait_inside(results.publish)
        case "done":  # committed, and the broker not told
            merge = merging.HOME
            HOMES.all[merge.recipe] = WorkerKind(recipe=merge.recipe, run=halt_after(merge.run))
        case _:
            raise ValueError(point)


def halt_in_training(halt) -> None:
    """Stand still at the third step of a transfer's distillation, having kept the state after each step."""
    from transfer import distillation
    from workers.attempt import Attempt

    report, fit = Attempt.progress, distillation.fit

    def progress(self, fraction, message="", **figures):
        report(self, fraction, message, **figures)
        if figures.get("stage") == "distillation" and figures.get("step") == 3:
            halt()

    Attempt.progress = progress
    distillation.fit = lambda *args, **kwargs: fit(*args, **{**kwargs, "save_every": 0})


if __name__ == "__main__":
    sys.exit(work(**json.loads(sys.argv[1])) if len(sys.argv) > 1 else main())
