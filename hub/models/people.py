"""The column that says who did something, for rows that outlive them."""

from django.conf import settings
from django.db import models


def by_someone(**options: object) -> models.ForeignKey:
    """A user, None once their account is gone. `blank=True` where there may be nobody yet."""
    return models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+", **options
    )
