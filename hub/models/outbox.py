"""Side effects that wait to be sent: each row was written in the transaction of its cause."""

import uuid

from django.db import models
from django.db.models import Q
from django.utils import timezone


class Outbox(models.Model):
    """One side effect. It may be sent more than once, always with the same `key`: receivers drop doubles by it."""

    topic = models.CharField(max_length=60)
    lane = models.CharField(
        max_length=100, blank=True, default="", db_default="", help_text="of a lane one is sent at a time"
    )
    key = models.UUIDField(default=uuid.uuid4, editable=False)
    payload = models.JSONField(default=dict)
    created_at = models.DateTimeField(auto_now_add=True)
    attempts = models.PositiveIntegerField(default=0, help_text="how often a drainer took it")
    next_at = models.DateTimeField(default=timezone.now, help_text="not before; while a drainer has it, its lease")
    sent_at = models.DateTimeField(null=True, blank=True)
    error = models.CharField(max_length=1000, blank=True, help_text="of the last attempt")

    class Meta:
        indexes = [
            models.Index(fields=["next_at", "id"], condition=Q(sent_at=None), name="outbox_due"),
            models.Index(fields=["lane", "next_at", "id"], condition=Q(sent_at=None), name="outbox_due_in_lane"),
            models.Index(fields=["sent_at"], condition=Q(sent_at__isnull=False), name="outbox_sent"),
        ]
        verbose_name_plural = "outbox"

    def __str__(self) -> str:
        return f"{self.topic} {self.key}"


class OutboxLane(models.Model):
    """The turn of one lane's rows. It is made when a drainer finds a row of the lane, and forgotten without any."""

    name = models.CharField(max_length=100, unique=True)
    free_at = models.DateTimeField(
        default=timezone.now, db_index=True, help_text="when its last row was done; while one is sent, its lease"
    )

    def __str__(self) -> str:
        return self.name
