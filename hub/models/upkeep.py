"""Work that keeps the hub in order: what ran when and how it ended, and leases that keep others out meanwhile."""

from django.db import models


class UpkeepTask(models.Model):
    """One row a task of `hub.services.upkeep.schedule`, and one for each lease (`runner`, `backup`).

    A lease is held by `holder` until `lease_until`, and is taken and renewed by conditional updates.
    """

    name = models.CharField(max_length=60, unique=True)
    holder = models.CharField(max_length=100, blank=True)
    lease_until = models.DateTimeField(null=True, blank=True)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    next_at = models.DateTimeField(null=True, blank=True)
    outcome = models.CharField(max_length=10, blank=True, help_text="done, failed or stopped; of the last run")
    message = models.CharField(max_length=300, blank=True)

    def __str__(self) -> str:
        return self.name


class SiteKey(models.Model):
    """One row: the fingerprint of the secret key that all hosts of this site have; see `hub.services.starting`."""

    ONLY = 1

    fingerprint = models.CharField(max_length=64)

    def __str__(self) -> str:
        return self.fingerprint[:12]
