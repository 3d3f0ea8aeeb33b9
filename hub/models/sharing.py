"""What others do with a repository: they propose changes, ask for its files, and know it by an earlier name."""

from django.conf import settings
from django.db import models

from .accounts import Namespace
from .people import by_someone
from .repositories import Repository


class PullState(models.TextChoices):
    OPEN = "open"
    MERGED = "merged"
    CLOSED = "closed"


class PullRequest(models.Model):
    """A change that somebody proposes; its files are what the ref `refs/pr/N` points at. Numbers begin at 1."""

    repository = models.ForeignKey(Repository, on_delete=models.CASCADE, related_name="pull_requests")
    number = models.PositiveIntegerField()
    title = models.CharField(max_length=500)
    description = models.TextField(blank=True)
    author = by_someone()
    target = models.CharField(max_length=200, default="main", help_text="the branch it is for")
    started_from = models.ForeignKey(
        "Revision",
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="+",
        help_text="the branch's head when it was opened: what came after is checked for conflicts",
    )
    found = models.JSONField(
        default=dict, help_text="of the newest push: {whole, same_as: v3 or null, base, warnings: [text]}"
    )
    state = models.CharField(max_length=6, choices=PullState.choices, default=PullState.OPEN)
    merged_as = models.ForeignKey("Revision", null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    closed_by = by_someone(blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    closed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["repository", "number"], name="pull_number_unique")]

    def __str__(self) -> str:
        return f"{self.repository}#{self.number}"

    @property
    def ref(self) -> str:
        """`refs/pr/N`: the name of its ref, which is of kind PULL."""
        return f"refs/pr/{self.number}"


class AccessState(models.TextChoices):
    PENDING = "pending"
    ACCEPTED = "accepted"
    REJECTED = "rejected"


class AccessRequest(models.Model):
    """A user asks for the files of a gated repository."""

    repository = models.ForeignKey(Repository, on_delete=models.CASCADE, related_name="access_requests")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="access_requests")
    state = models.CharField(max_length=8, choices=AccessState.choices, default=AccessState.PENDING)
    decided_by = by_someone(blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    decided_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["repository", "user"], name="access_request_once")]

    def __str__(self) -> str:
        return f"{self.user} asks for {self.repository}"


class FormerName(models.Model):
    """A name that a repository had before it was moved; it leads on until something else takes the name."""

    repository = models.ForeignKey(Repository, on_delete=models.CASCADE, related_name="former_names")
    namespace = models.ForeignKey(Namespace, on_delete=models.CASCADE, related_name="+")
    folded = models.CharField(max_length=96, help_text="the name in lower case")
    is_dataset = models.BooleanField(default=False)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["namespace", "folded", "is_dataset"], name="former_name_unique")]

    def __str__(self) -> str:
        return f"{self.namespace}/{self.folded} → {self.repository}"
