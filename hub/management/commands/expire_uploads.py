"""`manage.py expire_uploads`: forget pushes that were begun and left. Run it daily, before `collect_blobs`."""

from datetime import timedelta

from django.core.management.base import BaseCommand

from hub.services.content.uploads import EXPIRES, expire_uploads


class Command(BaseCommand):
    help = "Forget uploads that nobody has added to for some days, with their bytes."

    def add_arguments(self, parser) -> None:
        parser.add_argument("--days", type=float, default=EXPIRES.total_seconds() / 86400)

    def handle(self, *args, days: float, **options) -> None:
        self.stdout.write(f"{expire_uploads(older_than=timedelta(days=days))} uploads forgotten")
