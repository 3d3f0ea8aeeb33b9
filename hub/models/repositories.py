"""Repositories and the refs that point into them. Pages, REST and the Hugging Face protocol speak of the same rows."""

from django.conf import settings
from django.db import models
from django.db.models.functions import Lower

from .accounts import Namespace


class Kind(models.TextChoices):
    ADAPTER = "adapter"
    GENERATOR = "generator"
    DATASET = "dataset"


class Visibility(models.TextChoices):
    PUBLIC = "public"
    PRIVATE = "private"


class Origin(models.TextChoices):
    """Where the newest version came from."""

    UPLOADED = "uploaded"
    MERGED = "merged"
    TRANSFERRED = "transferred"
    GENERATED = "generated"
    ASSEMBLED = "assembled"
    TRAINED = "trained"


class Repository(models.Model):
    """`namespace/name`. The facet columns repeat the newest version's facts so that browsing asks one table."""

    namespace = models.ForeignKey(Namespace, on_delete=models.PROTECT, related_name="repositories")
    name = models.CharField(max_length=96)
    kind = models.CharField(max_length=10, choices=Kind.choices)
    visibility = models.CharField(max_length=8, choices=Visibility.choices, default=Visibility.PUBLIC)
    description = models.CharField(max_length=300, blank=True)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now_add=True)
    deleted_at = models.DateTimeField(null=True, blank=True)
    purged_at = models.DateTimeField(
        null=True, blank=True, help_text="deleted for good; the row stays where other rows speak of its versions"
    )
    oid_key = models.PositiveBigIntegerField(
        null=True, blank=True, help_text="the number in its revision ids, where it came from another hub"
    )

    base = models.ForeignKey("BaseModel", null=True, blank=True, on_delete=models.PROTECT, related_name="repositories")
    origin = models.CharField(max_length=12, choices=Origin.choices, default=Origin.UPLOADED)
    peft_type = models.CharField(max_length=40, blank=True)
    rank = models.PositiveIntegerField(
        null=True, blank=True, help_text="the largest over the modules; of what a generator writes"
    )
    license = models.CharField(max_length=100, blank=True)
    size = models.BigIntegerField(default=0, help_text="bytes of the newest version's files")
    downloads = models.PositiveIntegerField(default=0)

    class Meta:
        constraints = [models.UniqueConstraint("namespace", Lower("name"), name="repository_name_unique")]
        indexes = [
            models.Index(fields=["base", "-updated_at", "-id"]),
            models.Index(fields=["-updated_at", "-id"]),
            models.Index(fields=["-downloads", "-id"]),
        ]
        verbose_name_plural = "repositories"

    def __str__(self) -> str:
        return self.full_name

    @property
    def is_adapter(self) -> bool:
        """Whether it holds adapters: plain ones, mixtures, or of another format."""
        return self.kind == Kind.ADAPTER

    @property
    def is_generator(self) -> bool:
        """Whether it holds generators."""
        return self.kind == Kind.GENERATOR

    @property
    def is_dataset(self) -> bool:
        """Whether it holds data."""
        return self.kind == Kind.DATASET

    @property
    def oid_number(self) -> int:
        """The number that enters its revision ids: its own, or its number in the hub that it came from."""
        return self.pk if self.oid_key is None else self.oid_key

    @property
    def full_name(self) -> str:
        """`namespace/name`; needs the namespace loaded to cost no query."""
        return f"{self.namespace.name}/{self.name}"


class RepositoryTag(models.Model):
    """A tag word of the card, for facets."""

    repository = models.ForeignKey(Repository, on_delete=models.CASCADE, related_name="tags")
    name = models.CharField(max_length=60, db_index=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["repository", "name"], name="repository_tag_unique")]

    def __str__(self) -> str:
        return self.name


class RefKind(models.TextChoices):
    BRANCH = "branch"
    TAG = "tag"


class Ref(models.Model):
    """A movable name for a revision: `main`, a branch, a tag, `latest`. Names like v3 are versions, never refs."""

    repository = models.ForeignKey(Repository, on_delete=models.CASCADE, related_name="refs")
    kind = models.CharField(max_length=6, choices=RefKind.choices)
    name = models.CharField(max_length=200)
    revision = models.ForeignKey("Revision", on_delete=models.PROTECT, related_name="refs")
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["repository", "name"], name="ref_name_unique")]

    def __str__(self) -> str:
        return self.name

    @property
    def is_tag(self) -> bool:
        """Whether it is a tag; else it is a branch."""
        return self.kind == RefKind.TAG
