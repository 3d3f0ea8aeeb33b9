"""`manage.py accept_secret_key`: this host's secret key becomes the site's, where the one before is lost."""

from django.core.management.base import BaseCommand

from hub.services.starting import keys


class Command(BaseCommand):
    help = "Go on with this host's HUB_SECRET_KEY although the site had another. Sessions and sealed secrets are lost."

    def handle(self, *args, **options) -> None:
        keys.accept()
        self.stdout.write(
            "This host's secret key is the site's now. Everyone signs in again; webhooks and second factors that were "
            "sealed by the key before need new secrets. Give every host this HUB_SECRET_KEY."
        )
