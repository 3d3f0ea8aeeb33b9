"""Limits and what is used of them: of a namespace's store and things, of a user's jobs, uploads and tokens.

Counting is cheap however much there is: the store's sums are kept with its rows, and everything else is counted over
an index and bounded by its own limit.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

from django.conf import settings
from django.db.models import Count, Exists, OuterRef, Q, Sum
from django.utils import timezone

from hub.models import (
    Arrival,
    BaseFile,
    BaseModel,
    Blob,
    ChunkStore,
    Companion,
    Job,
    ManifestEntry,
    Namespace,
    PullRequest,
    PullState,
    Quota,
    Repository,
    State,
    Stored,
    Token,
    Upload,
    UploadFile,
    Usage,
    User,
)

RUNNING = (State.LOADING, State.RUNNING, State.SAVING)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """One limit: what it counts in words, whether in bytes, how it is counted, and what to do when it is used up."""

    name: str
    label: str
    advice: str
    count: Callable[[Namespace | User], int | None]
    bytes: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Used:
    """One limit with what is used of it; `limit` 0 is none, `used` None where the limit is for each single thing."""

    name: str
    label: str
    bytes: bool
    used: int | None
    limit: int

    @property
    def share(self) -> float | None:
        """The part that is used, 1.0 and more when it is used up; None without a limit."""
        return self.used / self.limit if self.limit and self.used is not None else None


def _stored(column: str, namespace: Namespace) -> int:
    return Usage.objects.filter(namespace=namespace).values_list(column, flat=True).first() or 0


def _staged(user: User) -> int:
    """Bytes of open uploads, and of what came before a commit by the Hugging Face protocol."""
    files = UploadFile.objects.filter(upload__user=user, upload__committed_at=None, blob=None)
    came = Arrival.objects.filter(user=user).aggregate(sum=Sum("blob__size"))["sum"] or 0
    coming = ChunkStore.objects.filter(user=user).aggregate(sum=Sum("bytes"))["sum"] or 0
    return (files.aggregate(sum=Sum("size"))["sum"] or 0) + came + coming


def _proposed(user: User) -> int:
    """Bytes of what they have proposed and its namespace doesn't hold, each digest once."""
    held = Stored.objects.filter(namespace=OuterRef("revision__repository__namespace"), sha256=OuterRef("blob"))
    entries = ManifestEntry.objects.filter(~Exists(held), revision__pull__author=user)
    blobs = Blob.objects.filter(pk__in=entries.values("blob"))
    return blobs.aggregate(sum=Sum("size"))["sum"] or 0


def _tokens(user: User) -> int:
    living = Q(expires_at=None) | Q(expires_at__gt=timezone.now())
    return Token.objects.filter(living, user=user, revoked_at=None).count()


def _of_bases(user: User) -> int:
    """Bytes of the files of the user's bases, each digest once."""
    held = BaseFile.objects.filter(base__created_by=user).order_by().values("blob")
    return Blob.objects.filter(pk__in=held).aggregate(sum=Sum("size"))["sum"] or 0


ASK = "or ask an administrator of this hub for a higher limit."
OF_NAMESPACES = (
    Limit(
        name="stored_bytes",
        label="stored bytes",
        bytes=True,
        count=partial(_stored, "stored_bytes"),
        advice=f"Remove companions that are no longer needed, use another namespace, {ASK}",
    ),
    Limit(
        name="stored_files",
        label="stored files",
        count=partial(_stored, "stored_files"),
        advice=f"Remove companions that are no longer needed, use another namespace, {ASK}",
    ),
    Limit(
        name="files_per_revision",
        label="files per revision",
        count=lambda namespace: None,
        advice=f"Push fewer files, or put them into several repositories, {ASK}",
    ),
    Limit(
        name="repositories",
        label="repositories, with those in the trash",
        count=lambda namespace: Repository.objects.filter(namespace=namespace, purged_at=None).count(),
        advice=f"Push a new version to one that is there, use another namespace, {ASK}",
    ),
    Limit(
        name="companions",
        label="companions",
        count=lambda namespace: Companion.objects.filter(repository__namespace=namespace).count(),
        advice=f"Remove companions that are no longer needed, {ASK}",
    ),
    Limit(
        name="webhooks",
        label="webhooks",
        count=lambda namespace: namespace.webhooks.count(),
        advice=f"Remove one that is no longer needed, {ASK}",
    ),
)
OF_USERS = (
    Limit(
        name="queued_jobs",
        label="queued jobs",
        count=lambda user: Job.objects.filter(created_by=user, state=State.QUEUED).count(),
        advice=f"Wait until some have begun, cancel some, {ASK}",
    ),
    Limit(
        name="running_jobs",
        label="running jobs",
        count=lambda user: Job.objects.filter(created_by=user, state__in=RUNNING).count(),
        advice="The next one begins when one of them ends.",
    ),
    Limit(
        name="open_uploads",
        label="open uploads",
        count=lambda user: Upload.objects.filter(user=user, committed_at=None).count(),
        advice=f"Commit or abandon one that is open (DELETE /api/v1/uploads/ID), {ASK}",
    ),
    Limit(
        name="staged_bytes",
        label="bytes promised to open uploads",
        bytes=True,
        count=_staged,
        advice=f"Commit or abandon an upload that is open (DELETE /api/v1/uploads/ID), {ASK}",
    ),
    Limit(
        name="open_proposals",
        label="open proposals",
        count=lambda user: PullRequest.objects.filter(author=user, state=PullState.OPEN).count(),
        advice=f"Close one that is open, {ASK}",
    ),
    Limit(
        name="proposed_bytes",
        label="bytes proposed and not merged",
        bytes=True,
        count=_proposed,
        advice=f"Propose less, or push to a repository of your own; what is merged counts no longer, {ASK}",
    ),
    Limit(
        name="organisations",
        label="organisations made",
        count=lambda user: Namespace.objects.filter(created_by=user).count(),
        advice=f"Use one that is there, {ASK}",
    ),
    Limit(
        name="tokens",
        label="valid tokens",
        count=_tokens,
        advice=f"Revoke one that is no longer used, {ASK}",
    ),
    Limit(
        name="bases",
        label="bases registered",
        count=lambda user: BaseModel.objects.filter(created_by=user).count(),
        advice=f"Use one that is there, {ASK}",
    ),
    Limit(
        name="base_bytes",
        label="bytes of bases' files",
        bytes=True,
        count=_of_bases,
        advice=f"Delete a base that is no longer needed, {ASK}",
    ),
)
LIMITS = {limit.name: limit for limit in (*OF_NAMESPACES, *OF_USERS)}


def limits_of(subject: Namespace | User) -> dict[str, int]:
    """Every limit of a namespace or user by name: the administrator's, else the settings'; 0 is none."""
    mine = OF_NAMESPACES if isinstance(subject, Namespace) else OF_USERS
    own = own_limits(subject)
    return {limit.name: own.get(limit.name, settings.QUOTAS[limit.name]) for limit in mine}


def own_limits(subject: Namespace | User) -> dict[str, int]:
    """The limits of a namespace or user that an administrator has set, by name."""
    key = "namespace" if isinstance(subject, Namespace) else "user"
    return Quota.objects.filter(**{key: subject}).values_list("limits", flat=True).first() or {}


def usage(subject: Namespace | User) -> list[Used]:
    """What a namespace or user has used of each limit, in the order to show them."""
    limits = limits_of(subject)
    return [
        Used(
            name=name,
            label=LIMITS[name].label,
            bytes=LIMITS[name].bytes,
            used=LIMITS[name].count(subject),
            limit=limit,
        )
        for name, limit in limits.items()
    ]


def stored(names: Iterable[str]) -> list[tuple[str, Used]]:
    """(namespace's name, its stored bytes) of each of these, by name."""
    found = Namespace.objects.filter(name__in=names).select_related("usage", "quota").order_by("name")
    kind, rows = LIMITS["stored_bytes"], []
    for namespace in found:
        own = namespace.quota.limits if hasattr(namespace, "quota") else {}
        used = namespace.usage.stored_bytes if hasattr(namespace, "usage") else 0
        limit = own.get(kind.name, settings.QUOTAS[kind.name])
        rows.append((namespace.name, Used(name=kind.name, label=kind.label, bytes=True, used=used, limit=limit)))
    return rows


def running(users: Iterable[int]) -> dict[int, int]:
    """User's id → jobs that workers hold for them now; those of none are left out."""
    rows = Job.objects.filter(state__in=RUNNING, created_by__in=users).values("created_by").annotate(n=Count("pk"))
    return {row["created_by"]: row["n"] for row in rows.order_by()}


def limits_on_running(users: Iterable[int]) -> dict[int, int]:
    """User's id → how many jobs of theirs may run at a time; 0 is no limit."""
    users = set(users)
    own = dict(Quota.objects.filter(user__in=users).values_list("user", "limits"))
    return {pk: own.get(pk, {}).get("running_jobs", settings.QUOTAS["running_jobs"]) for pk in users}


def full(users: Iterable[int]) -> set[int]:
    """Of these users' ids, those with as many running jobs as they may have."""
    limited = {pk: limit for pk, limit in limits_on_running(users).items() if limit}
    now = running(limited) if limited else {}
    return {pk for pk, limit in limited.items() if now.get(pk, 0) >= limit}
