"""Who did what to what, and when: one row for every write a service makes on someone's behalf."""

from django.conf import settings
from django.db import models

from .accounts import Namespace
from .repositories import Repository


class Event(models.Model):
    """An audit entry. It outlives what it speaks of, so it names its object in words.

    Its keys say where it is listed while these exist: under `namespace`, and under `repository` where it speaks of one.
    `actor` is None where a worker acted, or where the user is gone; then `actor_name` still says who it was.
    """

    actor = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="events")
    actor_name = models.CharField(max_length=150, null=True, blank=True, help_text="of a user whose account is deleted")
    verb = models.CharField(max_length=60)
    object = models.CharField(max_length=300)
    detail = models.JSONField(default=dict)
    # The indexes below begin with the keys, so that the keys need none of their own.
    namespace = models.ForeignKey(
        Namespace, null=True, blank=True, on_delete=models.SET_NULL, related_name="events", db_index=False
    )
    repository = models.ForeignKey(
        Repository, null=True, blank=True, on_delete=models.SET_NULL, related_name="events", db_index=False
    )
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        indexes = [
            models.Index(fields=["object", "-id"]),
            models.Index(fields=["namespace", "-id"]),
            models.Index(fields=["repository", "-id"]),
        ]

    def __str__(self) -> str:
        return f"{self.actor or self.actor_name} {self.verb} {self.object}"
