"""Webhooks: where a namespace's events are sent, and what came of each sending."""

import uuid

from django.db import models
from django.db.models import Q

from .accounts import Namespace
from .people import by_someone
from .repositories import Repository


class Webhook(models.Model):
    """An address that is told of events in a namespace, or of one repository in it. It belongs to the namespace."""

    namespace = models.ForeignKey(Namespace, on_delete=models.CASCADE, related_name="webhooks")
    repository = models.ForeignKey(Repository, null=True, blank=True, on_delete=models.CASCADE, related_name="webhooks")
    url = models.CharField(max_length=1000)
    events = models.JSONField(default=list, help_text="verbs such as publish; [] is all")
    secret = models.TextField(help_text="sealed")
    active = models.BooleanField(default=True)
    failures = models.PositiveIntegerField(default=0, help_text="deliveries given up on since the last success")
    stopped = models.CharField(max_length=300, blank=True, help_text="why the hub switched it off")
    created_by = by_someone()
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"webhook {self.pk} of {self.namespace}"


class DeliveryState(models.TextChoices):
    WAITING = "waiting"
    DELIVERED = "delivered"
    FAILED = "failed"


class Delivery(models.Model):
    """One event for one webhook. Its attempts are counted, and the last one's answer is kept.

    The database doesn't check `webhook`: who publishes must neither fail nor wait where somebody removes it meanwhile.
    A delivery that is written at that moment is deleted when it should be sent.
    """

    webhook = models.ForeignKey(
        Webhook, on_delete=models.CASCADE, related_name="deliveries", db_index=False, db_constraint=False
    )
    key = models.UUIDField(
        default=uuid.uuid4, unique=True, editable=False, help_text="the receiver drops doubles by it"
    )
    event = models.CharField(max_length=60)
    payload = models.JSONField(default=dict)
    state = models.CharField(max_length=9, choices=DeliveryState.choices, default=DeliveryState.WAITING)
    attempts = models.PositiveIntegerField(default=0)
    status = models.PositiveIntegerField(null=True, help_text="of the last answer")
    answer = models.CharField(max_length=1000, blank=True, help_text="the beginning of the last answer")
    error = models.CharField(max_length=300, blank=True, help_text="why there was no answer")
    milliseconds = models.PositiveIntegerField(null=True)
    created_at = models.DateTimeField(auto_now_add=True)
    ended_at = models.DateTimeField(null=True)

    class Meta:
        indexes = [
            models.Index(fields=["webhook", "-id"]),
            models.Index(fields=["ended_at"]),
            models.Index(fields=["webhook"], condition=Q(state="waiting", attempts=0), name="delivery_untried"),
        ]
        verbose_name_plural = "deliveries"

    def __str__(self) -> str:
        return f"{self.event} {self.key}"
