"""What namespaces and users may use, and what namespaces do use of the store."""

from django.db import models
from django.db.models import Q

from .accounts import Namespace, User


class Quota(models.Model):
    """Limits of one namespace or one user that differ from the settings': `limits` is {name: number}, 0 is none."""

    namespace = models.OneToOneField(Namespace, null=True, blank=True, on_delete=models.CASCADE, related_name="quota")
    user = models.OneToOneField(User, null=True, blank=True, on_delete=models.CASCADE, related_name="quota")
    limits = models.JSONField(default=dict)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(namespace=None, user__isnull=False) | Q(namespace__isnull=False, user=None),
                name="quota_of_one",
            )
        ]

    def __str__(self) -> str:
        return f"limits of {self.namespace or self.user}"


class Usage(models.Model):
    """What a namespace has in the store: the sums of its `Stored` rows, kept with them. Its row is also their lock."""

    namespace = models.OneToOneField(Namespace, primary_key=True, on_delete=models.CASCADE, related_name="usage")
    stored_bytes = models.BigIntegerField(default=0)
    stored_files = models.BigIntegerField(default=0)

    def __str__(self) -> str:
        return f"{self.namespace}: {self.stored_bytes} bytes"


class Stored(models.Model):
    """Bytes a namespace holds in any revision or companion, counted once however often they are named there.

    No key to Blob: what is counted must not keep bytes from being collected.
    """

    namespace = models.ForeignKey(Namespace, on_delete=models.CASCADE, related_name="stored", db_index=False)
    sha256 = models.CharField(max_length=64)
    size = models.BigIntegerField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["namespace", "sha256"], name="stored_once")]

    def __str__(self) -> str:
        return f"{self.sha256[:12]} of {self.namespace}"


class SignUps(models.Model):
    """How many accounts were made from one address on one day; the address is kept as a keyed hash, for a day."""

    address = models.CharField(max_length=64)
    day = models.DateField()
    count = models.PositiveIntegerField(default=0)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["day", "address"], name="sign_ups_once")]
        verbose_name_plural = "sign-ups"

    def __str__(self) -> str:
        return f"{self.count} on {self.day}"
