"""Repositories and the refs that point into them. Pages, REST and the Hugging Face protocol speak of the same rows."""

from django.db import models
from django.db.models.functions import Lower

from hub.names import DATASETS, split_path, split_place

from .accounts import Namespace
from .people import by_someone


class Kind(models.TextChoices):
    ADAPTER = "adapter"
    GENERATOR = "generator"
    DATASET = "dataset"


def sharing_names(kind: str, *, prefix: str = "") -> models.Q:
    """The filter for repositories in whose name space one of this kind is: datasets have one, all others another."""
    datasets = models.Q(**{f"{prefix}kind": Kind.DATASET})
    return datasets if kind == Kind.DATASET else ~datasets


def path_of(kind: str, namespace: str, name: str) -> str:
    """The path of a repository of this kind: `namespace/name`, and `datasets/namespace/name` of a dataset."""
    return f"{DATASETS if kind == Kind.DATASET else ''}{namespace}/{name}"


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


class Gate(models.TextChoices):
    """Who may fetch files of a public repository: everyone, who asked, or who asked and was let in."""

    OPEN = "open"
    AUTO = "auto"
    MANUAL = "manual"


ORDERS = (("updated", ["-updated_at"]), ("created", ["-created_at"]), ("downloads", ["-downloads"]), ("name", ["name"]))
FACETS = ("peft_type", "rank", "license", "origin")


class RepositoryRows(models.QuerySet):
    """Repositories, found by their names."""

    def listed(self) -> "RepositoryRows":
        """With namespace and base loaded, but for what no list shows: a base's config and shapes."""
        return self.select_related("namespace", "base").defer("base__config", "base__shapes")

    def at(self, place: str, name: str, *, exact: bool = False, start: bool = False) -> "RepositoryRows":
        """What `name` may mean at a place, a model first: `datasets/ns` has datasets, `ns` models and then datasets.

        With `exact` the place `ns` has models only. With `start`, `name` is how the names begin.
        """
        namespace, datasets = split_place(place)
        called = {"name__istartswith" if start else "name__iexact": name}
        rows = self.filter(namespace__name__iexact=namespace, **called)
        if datasets or exact:
            return rows.filter(sharing_names(Kind.DATASET if datasets else Kind.ADAPTER))
        return rows.order_by(models.Case(models.When(kind=Kind.DATASET, then=1), default=0))


class Repository(models.Model):
    """`namespace/name`, once for a model and once for a dataset.

    The facet columns repeat the newest version's facts so that browsing asks one table. A tombstone, one with
    `purged_at`, has no name of its own any more, and no namespace once that is gone.
    """

    namespace = models.ForeignKey(Namespace, null=True, on_delete=models.PROTECT, related_name="repositories")
    name = models.CharField(max_length=96)
    kind = models.CharField(max_length=10, choices=Kind.choices)
    visibility = models.CharField(max_length=8, choices=Visibility.choices, default=Visibility.PUBLIC)
    gate = models.CharField(max_length=6, choices=Gate.choices, default=Gate.OPEN, db_default=Gate.OPEN)
    description = models.CharField(max_length=300, blank=True)
    created_by = by_someone()
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

    objects = RepositoryRows.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                "namespace", Lower("name"), condition=sharing_names(Kind.DATASET), name="dataset_name_unique"
            ),
            models.UniqueConstraint(
                "namespace", Lower("name"), condition=sharing_names(Kind.ADAPTER), name="model_name_unique"
            ),
            models.CheckConstraint(
                condition=models.Q(namespace__isnull=False) | models.Q(purged_at__isnull=False),
                name="repository_in_a_namespace",
            ),
        ]
        indexes = [
            models.Index(fields=["base", "-updated_at", "-id"]),
            models.Index(fields=["-updated_at", "-id"]),
            models.Index(fields=["-downloads", "-id"]),
            models.Index(fields=["-created_at", "-id"], name="repository_created"),
            models.Index(fields=["name", "-id"], name="repository_name"),
            models.Index(Lower("name"), name="repository_folded_name"),
            models.Index(fields=["namespace", "-updated_at", "-id"], name="repository_owner_updated"),
            # Of one kind, in each order; datasets and generators are few among many adapters.
            *(models.Index(fields=["kind", *order, "-id"], name=f"repository_kind_{name}") for name, order in ORDERS),
            # Facets whose value is rare; those of a common value are found in the order of the list.
            *(models.Index(fields=[name], name=f"repository_{name}") for name in FACETS),
            models.Index(
                fields=["namespace", "kind"], condition=models.Q(visibility="private"), name="repository_private"
            ),
        ]
        verbose_name_plural = "repositories"

    def __str__(self) -> str:
        return self.path

    @property
    def is_restricted(self) -> bool:
        """Whether not everyone may have its files: it is private or gated."""
        return self.visibility == Visibility.PRIVATE or self.gate != Gate.OPEN

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
        """`namespace/name`, which a model and a dataset may share; needs the namespace loaded to cost no query."""
        return f"{self.namespace.name}/{self.name}" if self.namespace_id else self.name

    @property
    def path(self) -> str:
        """The name that nothing else has: `namespace/name`, and `datasets/namespace/name` of a dataset."""
        return path_of(self.kind, self.namespace.name, self.name) if self.namespace_id else self.name

    @property
    def place(self) -> str:
        """The path without the name: `namespace`, or `datasets/namespace`; the first part of its addresses."""
        return split_path(self.path)[0]


class RefKind(models.TextChoices):
    BRANCH = "branch"
    TAG = "tag"
    PULL = "pull"
    """The changes of a pull request, by the name `refs/pr/N`."""


class Ref(models.Model):
    """A movable name for a revision: `main`, a branch, a tag, `latest`. Names like v3 are versions, never refs."""

    repository = models.ForeignKey(Repository, on_delete=models.CASCADE, related_name="refs")
    kind = models.CharField(max_length=6, choices=RefKind.choices)
    name = models.CharField(max_length=200)
    revision = models.ForeignKey("Revision", on_delete=models.PROTECT, related_name="refs")
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["repository", "kind", "name"], name="ref_kind_name_unique")]

    def __str__(self) -> str:
        return self.name

    @property
    def is_branch(self) -> bool:
        """Whether it is a branch."""
        return self.kind == RefKind.BRANCH

    @property
    def is_tag(self) -> bool:
        """Whether it is a tag."""
        return self.kind == RefKind.TAG

    @property
    def is_pull(self) -> bool:
        """Whether it is that of a pull request."""
        return self.kind == RefKind.PULL


class ProtectedRef(models.Model):
    """A pattern of ref names that only admins create, move and delete; for one repository, or a namespace's all."""

    namespace = models.ForeignKey(
        Namespace, null=True, blank=True, on_delete=models.CASCADE, related_name="protected_refs"
    )
    repository = models.ForeignKey(
        Repository, null=True, blank=True, on_delete=models.CASCADE, related_name="protected_refs"
    )
    pattern = models.CharField(max_length=200, help_text="a name, or a pattern with * such as release-*")
    created_by = by_someone()
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=models.Q(namespace=None, repository__isnull=False)
                | models.Q(namespace__isnull=False, repository=None),
                name="protected_ref_of_one_place",
            ),
            models.UniqueConstraint(fields=["namespace", "pattern"], name="protected_ref_of_namespace_unique"),
            models.UniqueConstraint(fields=["repository", "pattern"], name="protected_ref_of_repository_unique"),
        ]

    def __str__(self) -> str:
        return self.pattern


class RefMove(models.Model):
    """One step of a ref's history. It names revisions by their ids, so that it outlives them; "" is none."""

    repository = models.ForeignKey(Repository, on_delete=models.CASCADE, related_name="ref_moves", db_index=False)
    name = models.CharField(max_length=200)
    kind = models.CharField(max_length=6, choices=RefKind.choices)
    before = models.CharField(max_length=40, blank=True)
    before_version = models.PositiveIntegerField(null=True, blank=True)
    after = models.CharField(max_length=40, blank=True, help_text="empty where it was deleted")
    after_version = models.PositiveIntegerField(null=True, blank=True)
    actor = by_someone()
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        indexes = [models.Index(fields=["repository", "name", "-id"], name="ref_move_history")]

    def __str__(self) -> str:
        return f"{self.name}: {self.before[:10] or 'nothing'} → {self.after[:10] or 'nothing'}"

    @property
    def before_label(self) -> str | None:
        """`v3`, or None where the ref was at no version."""
        return f"v{self.before_version}" if self.before_version else None

    @property
    def after_label(self) -> str | None:
        """The same of where it went."""
        return f"v{self.after_version}" if self.after_version else None
