"""What administrators of the site look at: accounts, all jobs, storage, the whole audit log. Contents are not here."""

import shutil
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path

from django.conf import settings
from django.db.models import BigIntegerField, Count, F, Func, OuterRef, Q, QuerySet, Subquery, Sum
from django.db.models.functions import Coalesce

from hub import access
from hub.access import Viewer
from hub.errors import Invalid
from hub.models import (
    FINAL,
    HELD,
    BaseModel,
    Blob,
    Companion,
    Event,
    Job,
    ManifestEntry,
    Namespace,
    Repository,
    State,
    Upload,
    UploadFile,
    User,
    WorkerNode,
    clock,
)
from hub.names import split_path
from hub.queries import quota
from hub.queries.worker import workers
from hub.services.content.collection import unreferenced
from hub.storage import blobs

# Clocks of several web processes differ by less than this.
SKEW = timedelta(hours=1)
USER_STATES = {"active": Q(is_active=True), "suspended": Q(is_active=False), "administrator": Q(is_staff=True)}


def users(viewer: Viewer, *, search: str = "", state: str = "") -> QuerySet[User]:
    """All accounts by id, narrowed by words in name or mail and by `state`: active, suspended, administrator."""
    access.require_site_admin(viewer)
    found = User.objects.annotate(
        repositories=_count(Repository.objects.filter(namespace__owner=OuterRef("pk"), deleted_at=None)),
        jobs_open=_count(Job.objects.filter(created_by=OuterRef("pk")).exclude(state__in=FINAL)),
    )
    for word in search.split()[:8]:
        found = found.filter(Q(username__icontains=word) | Q(email__icontains=word))
    if state and state not in USER_STATES:
        raise Invalid(f"state={state[:40]!r} is not one; choose one of {', '.join(USER_STATES)}.", field="state")
    return found.filter(USER_STATES[state]) if state else found


def any_user(viewer: Viewer, username: str) -> User:
    """The account of this name, suspended or not, with the same counts."""
    found = users(viewer).filter(username__iexact=username).first()
    if found is None:
        raise access.missing(username, "user")
    return found


def any_namespace(viewer: Viewer, name: str) -> Namespace:
    """The namespace of this name."""
    access.require_site_admin(viewer)
    return access.namespace(viewer, name)


def limits(viewer: Viewer, subject: Namespace | User) -> list[quota.Used]:
    """The limits of a namespace or user, with what is used of each."""
    access.require_site_admin(viewer)
    return quota.usage(subject)


def own_limits(viewer: Viewer, subject: Namespace | User) -> dict[str, int]:
    """Those that an administrator has set."""
    access.require_site_admin(viewer)
    return quota.own_limits(subject)


def has_administrator() -> bool | None:
    """Whether someone administers this hub; None where no account is there yet."""
    if User.objects.filter(is_staff=True, is_active=True).exists():
        return True
    return False if User.objects.exists() else None


def all_jobs(viewer: Viewer, *, state: str = "", kind: str = "", user: str = "", queue: str = "") -> QuerySet[Job]:
    """Jobs of all users, newest first: what they are and where they stand, not what they were given."""
    access.require_site_admin(viewer)
    if state and state not in State.values:
        raise Invalid(f"state={state!r} is not a state; choose one of {', '.join(State.values)}.", field="state")
    given = {"state": state, "kind": kind, "queue": queue, "created_by__username__iexact": user}
    found = Job.objects.filter(**{name: value for name, value in given.items() if value})
    columns = ("kind", "state", "queue", "progress", "attempt", "worker", "error", "output_name")
    times = ("created_at", "started_at", "finished_at", "lease_until")
    found = found.select_related("created_by", "output_namespace", "base")
    return found.only(
        *columns, *times, "created_by__username", "output_namespace__name", "base__name", "base__revision"
    )


def any_job(viewer: Viewer, pk: int) -> Job:
    """One of them."""
    found = all_jobs(viewer).filter(pk=pk).first()
    if found is None:
        raise access.missing(str(pk), "job")
    return found


def is_stuck(job: Job) -> bool:
    """Whether a worker holds it and has not renewed its lease in time; the reaper takes it back soon."""
    return job.state in HELD and job.lease_until is not None and job.lease_until < clock.read()


def all_workers(viewer: Viewer) -> QuerySet[WorkerNode]:
    """Workers of the last day with what they work on."""
    access.require_site_admin(viewer)
    related = (f"current_job__{name}" for name in ("created_by", "output_namespace", "base"))
    return workers().select_related(*related)


def host_of(worker: WorkerNode) -> str:
    """The machine a worker runs on: its name is the host's with the process's number."""
    return worker.name.rpartition("-")[0] or worker.name


def node_of(worker: WorkerNode) -> dict:
    """{"worker", "host", "job", "alive", "stuck"}: alive is heard of within three leases, stuck silent over a job."""
    job = worker.current_job
    alive = clock.read() - worker.seen_at <= timedelta(seconds=3 * settings.JOB_LEASE_SECONDS)
    stuck = job is not None and job.state in HELD and (not alive or is_stuck(job))
    return {"worker": worker, "host": host_of(worker), "job": job, "alive": alive, "stuck": stuck}


def all_bases(viewer: Viewer) -> QuerySet[BaseModel]:
    """All bases by name, with who registered each and how many repositories, private ones too, and jobs use it."""
    access.require_site_admin(viewer)
    return BaseModel.objects.select_related("created_by").annotate(
        used_by=_count(Repository.objects.filter(base=OuterRef("pk"))),
        derivatives=_count(BaseModel.objects.filter(derived_from=OuterRef("pk"))),
        jobs_open=_count(Job.objects.filter(base=OuterRef("pk")).exclude(state__in=FINAL)),
    )


def namespaces(viewer: Viewer) -> QuerySet[Namespace]:
    """All namespaces with the bytes that their repositories hold, each blob once: in files, and kept beside them."""
    access.require_site_admin(viewer)
    here = OuterRef(OuterRef("pk"))
    files = ManifestEntry.objects.filter(revision__repository__namespace=here).values("blob")
    beside = Companion.objects.filter(repository__namespace=here).values("blob")
    return Namespace.objects.select_related("owner").annotate(
        repository_count=_count(Repository.objects.filter(namespace=OuterRef("pk"), purged_at=None)),
        file_bytes=_bytes(Blob.objects.filter(pk__in=files)),
        companion_bytes=_bytes(Blob.objects.filter(pk__in=beside)),
    )


def storage(viewer: Viewer) -> dict:
    """{"blobs", "bytes", "unreferenced", "unreferenced_bytes", "uploads_open", "uploads_bytes", "disks"}.

    A disk is {"what", "path", "total", "used", "free"} in bytes; a store elsewhere (S3) has none.
    """
    access.require_site_admin(viewer)
    stored = Blob.objects.aggregate(n=Count("pk"), bytes=Coalesce(Sum("size"), 0))
    loose = unreferenced().aggregate(n=Count("pk"), bytes=Coalesce(Sum("size"), 0))
    open_uploads = Upload.objects.filter(committed_at=None)
    sent = UploadFile.objects.filter(upload__committed_at=None, blob=None)
    places = {"data": settings.HUB_DATA, "uploads": settings.UPLOAD_FOLDER, "blobs": blobs.folder}
    return {
        "blobs": stored["n"],
        "bytes": stored["bytes"],
        "unreferenced": loose["n"],
        "unreferenced_bytes": loose["bytes"],
        "uploads_open": open_uploads.count(),
        "uploads_bytes": sent.aggregate(bytes=Coalesce(Sum("received"), 0))["bytes"],
        "disks": [disk for what, path in places.items() if path and (disk := _disk(what, Path(path)))],
    }


def all_events(viewer: Viewer, filters: Mapping[str, object]) -> QuerySet[Event]:
    """The whole audit log, newest first, narrowed by these: actor, verb (its beginning), object, namespace,
    repository, address, since and until (moments).

    Every filter has an index that ends in the id, so that a page costs the same wherever it is.
    """
    access.require_site_admin(viewer)
    found = Event.objects.select_related("actor", "namespace", "repository__namespace").order_by("-pk")
    if actor := filters.get("actor"):
        living = User.objects.filter(username__iexact=actor).values_list("pk", flat=True).first()
        gone = Event.objects.filter(actor_name=actor)
        if living is None and not gone.exists():
            raise Invalid(f"actor={actor!r} is the name of nobody here; check it.", field="actor")
        found = found.filter(actor=living) if living else found.filter(actor_name=actor)
    if verb := filters.get("verb"):
        found = found.filter(verb__startswith=verb)
    if words := filters.get("object"):
        found = found.filter(object=words)
    if name := filters.get("namespace"):
        place = Namespace.objects.filter(name__iexact=name).values_list("pk", flat=True).first()
        if place is None:
            raise Invalid(
                f"namespace={name!r} is the name of none here; check it, or look by `object`.", field="namespace"
            )
        found = found.filter(namespace=place)
    if path := filters.get("repository"):
        repository = Repository.objects.at(*split_path(str(path))).values_list("pk", flat=True).first()
        # What no longer exists is found by the words that remain.
        found = found.filter(repository=repository) if repository else found.filter(object=path)
    if address := filters.get("address"):
        found = found.filter(address=address)
    return _between(found, filters.get("since"), filters.get("until"))


def _between(found: QuerySet[Event], since: datetime | None, until: datetime | None) -> QuerySet[Event]:
    """Events of these times. Ids grow with time but for clocks that differ, so the times bound the ids to be read."""
    if since:
        first = Event.objects.filter(created_at__gte=since - SKEW).order_by("created_at", "pk")
        found = found.filter(created_at__gte=since, pk__gte=first.values_list("pk", flat=True).first() or 0)
    if until:
        last = Event.objects.filter(created_at__lte=until + SKEW).order_by("-created_at", "-pk")
        found = found.filter(created_at__lte=until, pk__lte=last.values_list("pk", flat=True).first() or 0)
    return found


def _count(rows: QuerySet) -> Subquery:
    """How many rows, counted in a query of its own; they name the outer row by OuterRef."""
    return Subquery(rows.order_by().annotate(n=Func(F("pk"), function="COUNT")).values("n"), BigIntegerField())


def _bytes(rows: QuerySet[Blob]) -> Coalesce:
    summed = rows.order_by().annotate(n=Func(F("size"), function="SUM")).values("n")
    return Coalesce(Subquery(summed, BigIntegerField()), 0)


def _disk(what: str, path: Path) -> dict | None:
    while not path.exists() and path != path.parent:
        path = path.parent
    try:
        total, used, free = shutil.disk_usage(path)
    except OSError:
        return None
    return {"what": what, "path": str(path), "total": total, "used": used, "free": free}
