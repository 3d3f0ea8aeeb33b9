"""What is kept beside an adapter under a visibility of its own: seeds, a discriminator, a training digest."""

from django.db import models

from .blobs import Blob
from .people import by_someone
from .repositories import Repository, Visibility

SEEDS, DISCRIMINATOR, SYNTHETIC = "seeds", "discriminator", "synthetic"
CONTEXT, STATE = "context", "state"


class Companion(models.Model):
    """A named blob beside a repository, private unless its owner says otherwise."""

    repository = models.ForeignKey(Repository, on_delete=models.CASCADE, related_name="companions")
    kind = models.CharField(max_length=40)
    name = models.CharField(max_length=200)
    blob = models.ForeignKey(Blob, on_delete=models.PROTECT, related_name="companions")
    visibility = models.CharField(max_length=8, choices=Visibility.choices, default=Visibility.PRIVATE)
    facts = models.JSONField(default=dict)
    created_by = by_someone()
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["repository", "kind", "name"], name="companion_unique")]

    def __str__(self) -> str:
        return f"{self.kind}/{self.name}"
