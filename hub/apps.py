"""The one Django app of the hub."""

from django.apps import AppConfig


class HubConfig(AppConfig):
    name = "hub"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Make the outbox's handlers known to every process that may drain it."""
        import hub.services.webhooks.sending  # noqa: F401
