"""Work asked of the workers: one row a job, one transition table, one fence.

QUEUED → LOADING → RUNNING → SAVING → DONE, or FAILED, CANCELLED. A worker owns a job by (attempt, lease); every
write it makes names its attempt, so that a ghost of an earlier attempt changes nothing.
"""

from django.conf import settings
from django.db import models
from django.db.models import Q

from .repositories import Visibility


class State(models.TextChoices):
    QUEUED = "queued"
    LOADING = "loading"
    RUNNING = "running"
    SAVING = "saving"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


FINAL = frozenset({State.DONE, State.FAILED, State.CANCELLED})
HELD = (State.LOADING, State.RUNNING, State.SAVING)
"""A worker works on it, and renews its lease. A queued job's `lease_until` is when one that was put off may run."""

ALLOWED: dict[str, frozenset[str]] = {
    State.QUEUED: frozenset({State.LOADING, State.CANCELLED, State.FAILED}),
    State.LOADING: frozenset({State.RUNNING, State.QUEUED, State.FAILED, State.CANCELLED}),
    State.RUNNING: frozenset({State.SAVING, State.QUEUED, State.FAILED, State.CANCELLED}),
    State.SAVING: frozenset({State.DONE, State.QUEUED, State.FAILED}),
    State.DONE: frozenset(),
    State.FAILED: frozenset({State.QUEUED}),
    State.CANCELLED: frozenset({State.QUEUED}),
}


class Priority(models.IntegerChoices):
    """Which of a user's own jobs comes first. An urgent one comes before those of all users; only administrators of
    the site make it so."""

    LOW = -10, "low"
    NORMAL = 0, "normal"
    HIGH = 10, "high"
    URGENT = 20, "urgent"


ADAPTER, DATASET = "adapter", "dataset"
"""Roles of a job's inputs; a kind of job may have others, see `hub.services.jobs.kinds`."""


class Job(models.Model):
    """A recipe, its inputs and where the result goes. The queue carries its id and nothing else."""

    kind = models.CharField(max_length=40, help_text="a method of the registry, or `fingerprint` for a base")
    recipe = models.JSONField(default=dict)
    state = models.CharField(max_length=10, choices=State.choices, default=State.QUEUED, db_index=True)
    # Where its id was last sent to: a hint. What it needs is said by `need`.
    queue = models.CharField(max_length=20, default="cpu")
    need = models.CharField(
        max_length=200,
        db_default="",
        default="",
        help_text="what it needs of a worker, as `hub.services.jobs.scheduling.Need` writes it; empty: not yet known",
    )
    priority = models.SmallIntegerField(choices=Priority.choices, db_default=0, default=Priority.NORMAL)
    base = models.ForeignKey("BaseModel", null=True, blank=True, on_delete=models.PROTECT, related_name="jobs")
    output = models.ForeignKey("Repository", null=True, blank=True, on_delete=models.SET_NULL, related_name="jobs")
    result = models.ForeignKey("Version", null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    output_namespace = models.ForeignKey(
        "Namespace", null=True, blank=True, on_delete=models.CASCADE, related_name="jobs"
    )
    output_name = models.CharField(max_length=96, blank=True, help_text="`output` is made when the result is saved")
    keep = models.JSONField(default=list, help_text="kinds of companions to keep beside the result")
    output_visibility = models.CharField(max_length=8, choices=Visibility.choices, default=Visibility.PUBLIC)
    # None once its owner's account is deleted; such a job is over and is not retried.
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="jobs")
    idempotency_key = models.CharField(max_length=200, null=True, blank=True)
    limit_namespace = models.BigIntegerField(
        null=True, blank=True, help_text="id, kept when its row is gone: the limit of the token that asked for the job"
    )
    limit_repository = models.BigIntegerField(null=True, blank=True, help_text="the same for a token of one repository")

    attempt = models.PositiveIntegerField(default=0, help_text="the fence: grows with every claim, never shrinks")
    lost = models.PositiveIntegerField(default=0, help_text="attempts whose worker went silent")
    max_attempts = models.PositiveIntegerField(default=3, help_text="lost attempts after which the job fails")
    sent_at = models.DateTimeField(null=True, blank=True, help_text="when the broker last took its id")
    worker = models.CharField(max_length=200, blank=True)
    lease_until = models.DateTimeField(null=True, blank=True)
    cancel_requested = models.BooleanField(default=False)
    progress = models.FloatField(default=0.0)
    message = models.CharField(max_length=300, blank=True)
    figures = models.JSONField(default=dict)
    outcome = models.JSONField(null=True, blank=True, help_text="the answer of a job that publishes nothing")
    error = models.JSONField(null=True, blank=True, help_text="{code, message, …facts}")
    environment = models.JSONField(null=True, blank=True)
    expected_seconds = models.FloatField(
        null=True, blank=True, help_text="what its kind's formula gave when it was queued; what it took corrects others"
    )

    created_at = models.DateTimeField(auto_now_add=True)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["created_by", "idempotency_key"], name="job_idempotency_unique"),
        ]
        indexes = [
            models.Index(fields=["state", "lease_until"]),
            # Whose turn it is: each user's waiting jobs, and when a job of theirs last began.
            models.Index(fields=["created_by", "id"], condition=Q(state=State.QUEUED), name="job_waiting"),
            models.Index(fields=["created_by", "-started_at"], name="job_last_begun"),
            # What the last jobs of a kind took.
            models.Index(
                fields=["kind", "queue", "-id"],
                condition=Q(state=State.DONE, expected_seconds__isnull=False),
                name="job_took",
            ),
            models.Index(fields=["output_namespace", "-started_at"], name="job_last_begun_in"),
            # What the waiting jobs need, and which of them nobody was told of lately.
            models.Index(fields=["need", "sent_at"], condition=Q(state=State.QUEUED), name="job_waiting_need"),
        ]

    def __str__(self) -> str:
        return f"job {self.pk} ({self.kind}, {self.state})"

    @property
    def output_path(self) -> str:
        """`namespace/name` where the result goes, also before that repository is made; "" without one."""
        return f"{self.output_namespace.name}/{self.output_name}" if self.output_namespace else ""

    @property
    def is_final(self) -> bool:
        """True once nothing more happens without a retry."""
        return self.state in FINAL


class JobInput(models.Model):
    """An input version in its place, with the digest it had when the job was queued."""

    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="inputs")
    version = models.ForeignKey("Version", on_delete=models.PROTECT, related_name="+")
    role = models.CharField(max_length=20, default="adapter")
    position = models.PositiveIntegerField()
    digest = models.CharField(max_length=64)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["job", "role", "position"], name="job_input_unique")]
        ordering = ["role", "position"]

    def __str__(self) -> str:
        return f"{self.role} {self.position}: {self.version}"


class JobFile(models.Model):
    """A private input that is not a version: seed examples, a discriminator's file, real prompts; for the job's owner.

    Fixed by digest when the job is queued. The bytes are held while the job may still run; once it is done,
    HUB_KEEP_JOB_FILES_DAYS after it failed or was cancelled, or when its owner has removed the companion, `blob` is
    empty and the digest alone remains.
    """

    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="files")
    role = models.CharField(max_length=20)
    name = models.CharField(max_length=200)
    blob = models.ForeignKey("Blob", null=True, blank=True, on_delete=models.PROTECT, related_name="+")
    companion = models.BigIntegerField(null=True, blank=True, help_text="id of the companion it was taken from")
    digest = models.CharField(max_length=64)
    facts = models.JSONField(default=dict)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["job", "role", "name"], name="job_file_unique")]
        ordering = ["role", "name"]

    def __str__(self) -> str:
        return f"{self.role}: {self.name}"


class JobCheckpoint(models.Model):
    """A file of what a job goes on from when another worker takes it; the newest state only, read by workers alone."""

    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="checkpoint")
    path = models.CharField(max_length=300)
    blob = models.ForeignKey("Blob", on_delete=models.PROTECT, related_name="+")
    attempt = models.PositiveIntegerField(help_text="the attempt that left it")
    stored_at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["job", "path"], name="job_checkpoint_unique")]
        ordering = ["path"]

    def __str__(self) -> str:
        return f"checkpoint of job {self.job_id}: {self.path}"


class JobLog(models.Model):
    """A line of a job's log, kept as long as HUB_KEEP_JOB_LOGS_DAYS says; the live stream repeats it."""

    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="log")
    attempt = models.PositiveIntegerField()
    at = models.DateTimeField(auto_now_add=True)
    text = models.CharField(max_length=1000)

    class Meta:
        ordering = ["id"]

    def __str__(self) -> str:
        return self.text


class WorkerNode(models.Model):
    """A worker process as it last described itself: queue, device, the bases it holds.

    `name` is for everyone, `host` ("machine-pid") for administrators of the site.
    """

    name = models.CharField(max_length=200, unique=True)
    host = models.CharField(max_length=200, blank=True)
    queues = models.JSONField(default=list)
    device = models.CharField(max_length=100)
    bases = models.JSONField(default=list, help_text="ids of the bases whose weights it can find")
    loaded = models.JSONField(default=list, help_text="ids of the bases in its memory")
    offers = models.JSONField(
        null=True,
        blank=True,
        help_text="models it could load, as `workers.offers` describes them; null where it does not say",
    )
    model_bytes = models.BigIntegerField(default=0, help_text="memory for bases; 0 where it didn't say")
    environment = models.JSONField(default=dict)
    memory = models.JSONField(default=dict, help_text="bytes: process, device_used, device_total")
    knows = models.JSONField(
        null=True,
        blank=True,
        help_text="kind of job → versions of its recipe that it can run; null where it didn't say",
    )
    current_job = models.ForeignKey(Job, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    trouble = models.CharField(
        max_length=200, blank=True, db_default="", default="", help_text="what keeps it from the broker"
    )
    started_at = models.DateTimeField()
    seen_at = models.DateTimeField(db_index=True)

    def __str__(self) -> str:
        return self.name

    def can_read(self, kind: str, version: object) -> bool:
        """Whether its release knows this version of a kind's recipe; one that did not say is taken to."""
        return self.knows is None or version in self.knows.get(kind, ())
