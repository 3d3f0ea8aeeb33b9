"""`manage.py export NAMESPACE/NAME… FILE`: repositories as one signed file, for another hub's `manage.py import`."""

from pathlib import Path

from django.core.management.base import BaseCommand, CommandError

from hub.errors import HubError
from hub.services.upkeep.bundles import signing
from hub.services.upkeep.bundles.exporting import export


class Command(BaseCommand):
    help = "Write repositories with all their revisions into one signed file. Companions are not in it."

    def add_arguments(self, parser) -> None:
        parser.add_argument("names", nargs="*", metavar="NAMESPACE/NAME", help="repositories, then the file to write")
        parser.add_argument("--private", action="store_true", help="export private repositories too")
        parser.add_argument("--show-key", action="store_true", help="print this hub's public key, and do nothing else")

    def handle(self, *args, names: list[str], private: bool, show_key: bool, **options) -> None:
        if show_key:
            self.stdout.write(signing.public_key())
            return
        if len(names) < 2:
            raise CommandError("Name repositories and then the file to write: manage.py export lab/news news.bundle")
        *repositories, file = names
        try:
            done = export(repositories, Path(file), private=private)
        except HubError as error:
            raise CommandError(error.message) from None
        self.stdout.write(
            f"{file}: {done['repositories']} repositories, {done['versions']} versions, {done['blobs']} blobs with "
            f"{done['bytes']:,} bytes, signed by {signing.public_key()}"
        )
