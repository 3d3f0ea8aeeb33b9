"""What a job needs of a worker, and who can run it. Which worker takes it is decided when it is claimed (`turns`).

A job that gains by a GPU is left to workers with one as long as one of them lives that has the job's bases; else a
worker without one runs it. So a GPU that appears takes what waits, and one that goes away holds nothing up.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from composition.recipes.method import Method
from hub import broker, queries
from hub.access import Viewer
from hub.errors import Invalid
from hub.models import BaseModel, Priority, User, WorkerNode
from hub.queries import quota
from hub.services.quotas.limits import lock


@dataclass(frozen=True, slots=True)
class Need:
    """A queue's name, `gpu` where a GPU is better but not required, and the ids of the bases whose weights are read.

    `bases` None: it reads a base that isn't known, and nobody can run it.
    """

    device: str
    bases: tuple[int, ...] | None = ()

    @classmethod
    def of(cls, method: Method, bases: Iterable[BaseModel]) -> "Need":
        """What a job of this method needs."""
        ids = tuple(sorted({base.pk for base in bases}))
        known = ids if ids or not method.needs.base_model else None
        return cls(broker.CPU if method.needs.device == "cpu" else broker.GPU, known)

    @classmethod
    def read(cls, text: str) -> "Need":
        """The need that `str` has written: `cpu`, `gpu:12:15`, `gpu:none`."""
        device, *ids = text.split(":")
        return cls(device, None if ids == ["none"] else tuple(map(int, ids)))

    def __str__(self) -> str:
        return ":".join([self.device, *(["none"] if self.bases is None else map(str, self.bases))])

    def held_by(self, bases: Collection[int]) -> bool:
        """Whether these bases' ids are all it needs."""
        return self.bases is not None and set(self.bases) <= set(bases)


def able(need: Need, workers: Sequence[WorkerNode]) -> list[WorkerNode]:
    """Of these workers, those that may take such a job: with a GPU where it is better and one has it, else any."""
    holding = [worker for worker in workers if need.held_by(worker.bases)]
    best = [worker for worker in holding if need.device in worker.queues]
    return best or [worker for worker in holding if broker.CPU in worker.queues]


def able_workers(method: Method, bases: Sequence[BaseModel], version: object = None) -> list[WorkerNode]:
    """Live workers that may take a job of this method that reads these bases, as its kind names them, and that know
    this version of its recipe (today's where None is given)."""
    version = method.recipe.version if version is None else version
    return able(Need.of(method, bases), [one for one in queries.live_workers() if one.can_read(method.kind, version)])


def queue_of(method: Method) -> str:
    """The queue of what a method is best run on, as far as a worker reads it now."""
    if method.needs.device == "cpu":
        return broker.CPU
    return broker.GPU if any(broker.GPU in worker.queues for worker in queries.live_workers()) else broker.CPU


def queue_for(need: Need) -> str:
    """The queue in which a job's id finds a worker soonest. It binds nobody: any able worker may take the job."""
    if need.device == broker.CPU:
        return broker.CPU
    takers = able(need, list(queries.live_workers()))
    return broker.GPU if any(broker.GPU in worker.queues for worker in takers) else broker.CPU


def priority_of(viewer: Viewer, word: str) -> Priority:
    """The priority of this word. Invalid `job.priority` for another word, and for one that the viewer may not give."""
    known = {one.label: one for one in Priority}
    if word not in known:
        raise Invalid(
            f"priority={word[:40]!r} is none; choose from {', '.join(known)}.", code="job.priority", field="priority"
        )
    if known[word] == Priority.URGENT and not viewer.is_site_admin:
        raise Invalid(
            "Only administrators of the site make a job urgent, which puts it before everyone's; choose from low, "
            "normal, high: they order your own jobs.",
            code="job.priority",
            field="priority",
        )
    return known[word]


def waiting_sentence(method: Method, bases: Sequence[BaseModel], version: object = None) -> str:
    """Why no running worker would take such a job, and what to do; "" where one would."""
    if able_workers(method, bases, version):
        return ""
    live = list(queries.live_workers())
    version = method.recipe.version if version is None else version
    if live and not any(worker.can_read(method.kind, version) for worker in live):
        return (
            f"Every running worker is of another release, which does not know version {version} of the {method.kind} "
            "recipe. Bring the workers to this release; the job waits for one."
        )
    if not method.needs.base_model or not live:
        return "No running worker can take this job. Start one: make up."
    missing = [base for base in bases if not any(base.pk in worker.bases for worker in live)]
    if not missing and len(bases) > 1:
        return (
            f"No single worker holds both {' and '.join(map(str, bases))}. "
            "Put them below the folder HUB_BASES of one worker's machine."
        )
    names = " and ".join(map(str, missing or bases))
    places = " and ".join(f"HUB_BASES/{base.folder}" for base in missing or bases)
    return (
        f"No running worker holds the base {names}. Put its weights under {places} on a worker's machine, into its "
        "Hugging Face cache, or into this hub: hubctl base push."
    )


def has_room(job_id: int) -> bool:
    """Whether the owner of a job may have one more running. Their row is locked to the end of the transaction."""
    owner = User.objects.filter(jobs=job_id).first()
    if owner is None or not quota.limits_of(owner)["running_jobs"]:
        return True
    lock(owner)
    return not quota.full([owner.pk])
