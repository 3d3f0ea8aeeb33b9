"""Revisions, the immutable manifests, and versions, the numbered ones whose weights are valid and new."""

from django.db import models

from composition.formats.peft.types import MIXTURES

from .blobs import Blob
from .people import by_someone
from .repositories import Origin, Repository

HEAVY = ("facts", "recipe", "report", "environment")
HEAVY_OF_BASE = ("config", "shapes")
"""Columns of a version and of a base that take kilobytes to megabytes; no list shows them."""


def heavy(version: str | None = None, base: str | None = None) -> list[str]:
    """The heavy columns of the version that a path leads to (as `revision__version__`), and of a base."""
    of_version = [] if version is None else [f"{version}{name}" for name in HEAVY]
    return of_version + ([] if base is None else [f"{base}{name}" for name in HEAVY_OF_BASE])


class VersionRows(models.QuerySet):
    """Versions, in lists without what is heavy."""

    def listed(self) -> "VersionRows":
        """With base, repository and namespace loaded, but for what no list shows."""
        return self.select_related("base", "repository__namespace").defer(*heavy("", "base__"))


class Revision(models.Model):
    """An immutable manifest with a parent; `oid` is 40 hex digits computed from both (a commit, to Hugging Face)."""

    repository = models.ForeignKey(Repository, on_delete=models.CASCADE, related_name="revisions")
    oid = models.CharField(max_length=40)
    parent = models.ForeignKey("self", null=True, blank=True, on_delete=models.PROTECT, related_name="children")
    version = models.ForeignKey("Version", null=True, blank=True, on_delete=models.PROTECT, related_name="revisions")
    pull = models.ForeignKey(
        "PullRequest",
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="revisions",
        help_text="the pull request that it was pushed to, as long as no branch has taken it",
    )
    message = models.CharField(max_length=500, blank=True)
    author = by_someone()
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["repository", "oid"], name="revision_oid_unique")]

    def __str__(self) -> str:
        return self.oid[:10]


class ManifestEntry(models.Model):
    """One line of a manifest: path → blob."""

    revision = models.ForeignKey(Revision, on_delete=models.CASCADE, related_name="entries")
    path = models.CharField(max_length=1024)
    blob = models.ForeignKey(Blob, on_delete=models.PROTECT, related_name="entries")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["revision", "path"], name="manifest_path_unique")]

    def __str__(self) -> str:
        return self.path


class Version(models.Model):
    """vN: given to the first revision that is valid as its kind and whose weights or config are new. Never changes."""

    repository = models.ForeignKey(Repository, on_delete=models.CASCADE, related_name="versions")
    number = models.PositiveIntegerField()
    base = models.ForeignKey("BaseModel", null=True, blank=True, on_delete=models.PROTECT, related_name="versions")
    content_digest = models.CharField(max_length=64, help_text="SHA-256 over what makes a version: weights and config")
    facts = models.JSONField(default=dict)
    origin = models.CharField(max_length=12, choices=Origin.choices, default=Origin.UPLOADED)
    recipe = models.JSONField(null=True, blank=True)
    report = models.JSONField(null=True, blank=True)
    environment = models.JSONField(null=True, blank=True)
    job = models.ForeignKey("Job", null=True, blank=True, on_delete=models.SET_NULL, related_name="published")
    created_by = by_someone()
    created_at = models.DateTimeField(auto_now_add=True)

    objects = VersionRows.as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["repository", "number"], name="version_number_unique")]

    def __str__(self) -> str:
        return f"{self.repository}@v{self.number}"

    @property
    def label(self) -> str:
        """`v3`."""
        return f"v{self.number}"

    @property
    def revision(self) -> Revision | None:
        """The revision that made it, for ever. Later ones with the same content changed other files, as the card."""
        if "revisions" in getattr(self, "_prefetched_objects_cache", {}):
            return min(self.revisions.all(), key=lambda revision: revision.pk, default=None)
        return self.revisions.order_by("pk").first()

    @property
    def is_mixture(self) -> bool:
        """Whether it routes tokens to experts."""
        return self.facts.get("peft_type") in MIXTURES


class Parentage(models.Model):
    """A version was made from another, in this place of the recipe's inputs."""

    child = models.ForeignKey(Version, on_delete=models.CASCADE, related_name="parentage")
    parent = models.ForeignKey(Version, on_delete=models.PROTECT, related_name="offspring")
    position = models.PositiveIntegerField(default=0)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["child", "position"], name="parentage_position_unique")]
        ordering = ["position"]

    def __str__(self) -> str:
        return f"{self.parent} → {self.child}"
