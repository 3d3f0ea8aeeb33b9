"""`manage.py backup FOLDER`: all rows and bytes, while the hub runs; what FOLDER has already is not copied again."""

from json import dumps
from pathlib import Path

from django.core.management.base import BaseCommand, CommandError

from hub.errors import HubError
from hub.services.upkeep.backup import WITHOUT_SECRETS, back_up, forget


class Command(BaseCommand):
    help = "Back the hub up into a folder: rows and bytes, consistent while it runs."

    def add_arguments(self, parser) -> None:
        parser.add_argument("folder", type=Path)
        what = "add the secret keys and the signing key: whoever reads the backup can then forge sessions"
        parser.add_argument("--with-secrets", action="store_true", help=what)
        parser.add_argument("--verify", action="store_true", help="read what is there already, copy anew what rotted")
        parser.add_argument("--keep", type=int, metavar="N", help="then remove all but the newest N backups")
        parser.add_argument("--json", action="store_true", help="figures for programs")

    def handle(self, *args, folder: Path, with_secrets, verify, keep: int | None, json, **options) -> None:
        if keep is not None and keep < 1:
            raise CommandError(f"--keep {keep}: keep at least 1.")
        try:
            say = (lambda text: None) if json else self.stdout.write
            done = back_up(folder, secrets=with_secrets, verify=verify, say=say)
            removed, freed = forget(folder, keep=keep) if keep else (0, 0)
        except HubError as error:
            raise CommandError(error.message) from None
        if json:
            figures = {name: getattr(done, name) for name in done.__slots__}
            self.stdout.write(dumps({**figures, "removed": removed, "freed_bytes": freed}))
        else:
            self.stdout.write(
                f"{folder / 'snapshots' / done.name} is whole: {done.rows:,} rows, {done.blobs:,} blobs with "
                f"{done.bytes:,} bytes, of which {done.copied:,} with {done.copied_bytes:,} bytes were copied."
            )
            if done.damaged:
                self.stdout.write(f"{done.damaged} blobs had rotted in {folder}.")
            if done.blobs > done.copied and not verify:
                self.stdout.write("The others were there in their sizes; --verify reads them as well.")
            if not with_secrets:
                self.stdout.write(WITHOUT_SECRETS)
            if removed:
                self.stdout.write(f"{removed} older backups removed, {freed:,} bytes freed.")
        if done.missing:
            raise CommandError(f"{len(done.missing)} blobs are missing or damaged in the store; run manage.py fsck.")
