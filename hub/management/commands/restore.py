"""`manage.py restore FOLDER`: put a backup into an empty hub, or with --replace in the place of this one."""

from pathlib import Path

from django.core.management.base import BaseCommand, CommandError

from hub.errors import HubError
from hub.services.upkeep import backup
from hub.services.upkeep.restore import holds, restore


class Command(BaseCommand):
    help = "Restore the newest backup in a folder; the hub must be stopped."
    requires_migrations_checks = False

    def add_arguments(self, parser) -> None:
        parser.add_argument("folder", type=Path)
        parser.add_argument("--name", help="another backup than the newest; see --list")
        parser.add_argument("--list", action="store_true", help="list the backups in the folder")
        parser.add_argument("--replace", action="store_true", help="delete all that this hub holds first")
        parser.add_argument("--without-damaged", action="store_true", help="restore all but bytes that are damaged")
        parser.add_argument("--yes", action="store_true", help="with --replace: don't ask")

    def handle(self, *args, folder: Path, name, list, replace, without_damaged, yes, **options) -> None:
        if list:
            self.stdout.write("\n".join(backup.whole(folder)) or f"{folder} holds no backup.")
            return
        if replace and not yes and (found := holds()):
            self.stdout.write("Everything that this hub holds is deleted, and the backup takes its place:")
            self.stdout.write("\n".join(f"  {count:,} {what}" for what, count in found.items()))
            if input("Do it? [y/N] ").strip().lower() not in ("y", "yes"):
                raise CommandError("Nothing was changed.")
        how = {"name": name, "replace": replace, "without_damaged": without_damaged}
        try:
            done = restore(folder, **how, say=self.stdout.write)
        except HubError as error:
            raise CommandError(error.message) from None
        self.stdout.write(f"Restored what was backed up at {done.made_at}. Check it: manage.py fsck")
        if done.lost:
            self.stdout.write(
                f"{len(done.lost):,} blobs are good neither in the backup nor in this store, such as {done.lost[0]}. "
                "fsck names what needs them; another backup may have them: manage.py fsck --repair --blobs-from FOLDER."
            )
