"""The base models adapters belong to: a tree of rows, never told apart by shapes alone.

A pruned, quantised or linearised base looks like its parent and is not; shapes answer "can it fit" only.
"""

import unicodedata

from django.db import models
from django.db.models.functions import Lower

from .accounts import User
from .people import by_someone


def fold(name: str) -> str:
    """The name as names are compared: without case, outer blanks, and other spellings of the same letters (NFKC)."""
    return unicodedata.normalize("NFKC", name).casefold().strip()


class BaseModel(models.Model):
    """A base: id and revision. `shapes` maps module name to [out, in]; null until a worker has read the config."""

    class Relation(models.TextChoices):
        FINETUNE = "finetune"
        QUANTIZED = "quantized"
        PRUNED = "pruned"
        LINEARIZED = "linearized"
        MERGED = "merged"

    name = models.CharField(max_length=200, help_text="org/name")
    revision = models.CharField(max_length=64, default="main")
    config = models.JSONField(default=dict)
    shapes = models.JSONField(null=True, blank=True)
    fingerprint = models.CharField(max_length=64, blank=True, db_index=True)
    parameters = models.BigIntegerField(null=True, blank=True)
    derived_from = models.ForeignKey("self", null=True, blank=True, on_delete=models.PROTECT, related_name="derived")
    relation = models.CharField(max_length=12, choices=Relation.choices, blank=True)
    license = models.CharField(max_length=100, blank=True)
    source = models.JSONField(default=dict, help_text="how workers find the weights: {'kind': 'gguf'|'folder'|'hf', …}")
    source_by_admin = models.BooleanField(
        default=False, help_text="an administrator said so: only then may `source` name another base's folder"
    )
    error = models.TextField(blank=True, help_text="why the shapes could not be read")
    created_by = by_someone()
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [models.UniqueConstraint(Lower("name"), "revision", name="base_unique")]

    def __str__(self) -> str:
        return self.name if self.revision == "main" else f"{self.name}@{self.revision}"

    @property
    def folder(self) -> str:
        """The base's own folder below the workers' HUB_BASES: org/name, or org/name@revision."""
        return str(self)

    @property
    def owner(self) -> User | None:
        """Who registered it or was given it; None where that account is closed, and administrators own it."""
        return self.created_by if self.created_by and self.created_by.is_active else None


class BaseAlias(models.Model):
    """Another name tools write for a base: a quantised copy's id, a local path, an old spelling."""

    base = models.ForeignKey(BaseModel, on_delete=models.CASCADE, related_name="aliases")
    name = models.CharField(max_length=300, unique=True)
    folded = models.CharField(
        max_length=1000, unique=True, null=True, help_text="`fold(name)`; null for one that came before another's rule"
    )

    def __str__(self) -> str:
        return f"{self.name} → {self.base}"


class BaseFile(models.Model):
    """A file of a base that the hub itself serves, to clients that ask it for bases as well."""

    base = models.ForeignKey(BaseModel, on_delete=models.CASCADE, related_name="files")
    path = models.CharField(max_length=1024)
    blob = models.ForeignKey("Blob", on_delete=models.PROTECT, related_name="base_files")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["base", "path"], name="base_file_unique")]

    def __str__(self) -> str:
        return f"{self.base}: {self.path}"
