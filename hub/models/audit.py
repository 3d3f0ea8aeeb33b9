"""Who did what to what, and when: one row for every write a service makes on someone's behalf."""

from django.conf import settings
from django.db import models

from .accounts import Namespace
from .repositories import Repository


class Event(models.Model):
    """An audit entry. It outlives what it speaks of, so it names its object in words.

    Its keys say where it is listed while these exist: under `namespace`, and under `repository` where it speaks of one.
    `actor` is None where a worker acted, or where the user is gone; then `actor_name` still says who it was. `address`
    is where the request came from, `request` its id.
    """

    # The indexes below begin with the keys, so that the keys need none of their own.
    actor = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="events", db_index=False
    )
    actor_name = models.CharField(max_length=150, null=True, blank=True, help_text="of a user whose account is deleted")
    verb = models.CharField(max_length=60)
    object = models.CharField(max_length=300)
    detail = models.JSONField(default=dict)
    namespace = models.ForeignKey(
        Namespace, null=True, blank=True, on_delete=models.SET_NULL, related_name="events", db_index=False
    )
    repository = models.ForeignKey(
        Repository, null=True, blank=True, on_delete=models.SET_NULL, related_name="events", db_index=False
    )
    address = models.GenericIPAddressField(null=True, blank=True)
    request = models.CharField(max_length=64, null=True, blank=True, help_text="the request's id, as in the log")
    once = models.CharField(
        max_length=64, null=True, blank=True, help_text="what is noted once only, such as a download in an hour"
    )
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["once"], condition=models.Q(once__isnull=False), name="event_once_unique"),
        ]
        indexes = [
            models.Index(fields=["actor", "-id"], name="event_actor"),
            models.Index(
                fields=["actor_name", "-id"], condition=models.Q(actor_name__isnull=False), name="event_actor_name"
            ),
            # Read by prefix, which PostgreSQL does from an index of this operator class only.
            models.Index(fields=["verb", "-id"], opclasses=["varchar_pattern_ops", "int8_ops"], name="event_verb"),
            models.Index(fields=["address", "-id"], condition=models.Q(address__isnull=False), name="event_address"),
            models.Index(fields=["created_at", "id"], name="event_time"),
            models.Index(fields=["object", "-id"]),
            models.Index(fields=["namespace", "-id"]),
            models.Index(fields=["repository", "-id"]),
        ]

    def __str__(self) -> str:
        return f"{self.actor or self.actor_name} {self.verb} {self.object}"
