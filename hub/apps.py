"""The one Django app of the hub."""

import importlib

from django.apps import AppConfig


class HubConfig(AppConfig):
    name = "hub"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Make the outbox's handlers known to every process that may drain it."""
        importlib.import_module("hub.services.webhooks.sending")
        importlib.import_module("hub.services.mail")
        importlib.import_module("hub.services.signing_in.resets")
