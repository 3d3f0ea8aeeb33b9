"""`manage.py collect_blobs`: delete bytes that nothing refers to. Run it daily."""

from datetime import timedelta

from django.core.management.base import BaseCommand

from hub.services.content.collection import GRACE, collect_blobs


class Command(BaseCommand):
    help = "Delete stored bytes that no revision, companion or upload refers to."

    def add_arguments(self, parser) -> None:
        hours = GRACE.total_seconds() / 3600
        parser.add_argument("--grace-hours", type=float, default=hours, help="keep bytes stored within so many hours")

    def handle(self, *args, grace_hours: float, **options) -> None:
        done = collect_blobs(grace=timedelta(hours=grace_hours))
        self.stdout.write(f"{done.rows} rows and {done.files} files deleted, {done.bytes:,} bytes freed")
