"""`manage.py gc`: remove what nothing needs: abandoned pushes, unreferenced bytes, leftovers of killed processes."""

from datetime import timedelta
from json import dumps

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from hub.errors import HubError
from hub.services.upkeep import releases
from hub.services.upkeep.garbage import collect_garbage
from hub.services.upkeep.leases import BACKUP, is_held


class Command(BaseCommand):
    help = "Remove abandoned pushes, stored bytes that nothing refers to, and what killed processes left."

    def add_arguments(self, parser) -> None:
        hours = settings.KEEP_UNUSED_HOURS
        parser.add_argument(
            "--grace-hours", type=float, default=hours, help="keep what is younger (default %(default)s)"
        )
        parser.add_argument("--dry-run", action="store_true", help="say what would be removed")
        parser.add_argument("--json", action="store_true", help="figures for programs")

    def handle(self, *args, grace_hours: float, dry_run: bool, json: bool, **options) -> None:
        if grace_hours < 0:
            raise CommandError(f"--grace-hours {grace_hours}: give hours, 0 or more.")
        try:
            releases.require_newest("gc")
        except HubError as error:
            raise CommandError(error.message) from None
        done = collect_garbage(grace=timedelta(hours=grace_hours), dry_run=dry_run)
        if json:
            self.stdout.write(dumps({"dry_run": dry_run, **done.to_json()}))
            return
        self.stdout.write(f"{'Would remove' if dry_run else 'Removed'}: {done}")
        if not dry_run and is_held(BACKUP):
            self.stdout.write("A backup is running, so no blob was deleted; run gc again when it has ended.")
