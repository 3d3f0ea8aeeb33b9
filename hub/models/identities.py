"""Who a user is elsewhere: their name at the OpenID Connect provider they come from."""

from django.conf import settings
from django.db import models


class Identity(models.Model):
    """`issuer` and `subject` name a person for ever; names and mail addresses change hands and are never trusted."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="identities")
    issuer = models.CharField(max_length=200)
    subject = models.CharField(max_length=255)
    shown = models.CharField(max_length=200, blank=True, help_text="the name or address there, for people")
    created_at = models.DateTimeField(auto_now_add=True)
    seen_at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["issuer", "subject"], name="identity_unique")]
        verbose_name_plural = "identities"

    def __str__(self) -> str:
        return f"{self.user} is {self.subject} of {self.issuer}"
