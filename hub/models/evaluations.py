"""Measured quality: one version (or a bare base) on one dataset version."""

from django.db import models

from .people import by_someone
from .revisions import Version


class Evaluation(models.Model):
    """Metrics with everything needed to trust them: data digest, base, device, time, who asked."""

    version = models.ForeignKey(Version, null=True, blank=True, on_delete=models.CASCADE, related_name="evaluations")
    base = models.ForeignKey("BaseModel", on_delete=models.PROTECT, related_name="evaluations")
    dataset = models.ForeignKey(Version, on_delete=models.PROTECT, related_name="used_by")
    dataset_digest = models.CharField(max_length=64)
    split = models.CharField(max_length=100)
    metrics = models.JSONField()
    rows = models.PositiveIntegerField()
    hits = models.JSONField(default=dict, help_text='by metric, a digit a row: "0110…", for paired comparisons')
    recipe = models.JSONField(default=dict)
    environment = models.JSONField(default=dict)
    device = models.CharField(max_length=100)
    seconds = models.FloatField()
    job = models.OneToOneField("Job", null=True, on_delete=models.SET_NULL, related_name="evaluation")
    created_by = by_someone()
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        indexes = [models.Index(fields=["version", "dataset", "-id"])]

    def __str__(self) -> str:
        return f"{self.version or self.base} on {self.dataset}"
