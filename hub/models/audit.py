"""Who did what to what, and when: one row for every write a service makes on somebody's behalf."""

from django.conf import settings
from django.db import models


class Event(models.Model):
    """An audit entry; it outlives what it speaks of, so it names its object in words."""

    actor = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="events")
    verb = models.CharField(max_length=60)
    object = models.CharField(max_length=300)
    detail = models.JSONField(default=dict)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        indexes = [models.Index(fields=["object", "-id"])]

    def __str__(self) -> str:
        return f"{self.actor} {self.verb} {self.object}"
