"""`manage.py import FILE --as USER`: repositories from a file that another hub's `manage.py export` wrote."""

from pathlib import Path

from django.core.management.base import BaseCommand, CommandError

from composition.errors import CompositionError
from hub.errors import HubError
from hub.models import User
from hub.services.upkeep.bundles.importing import import_bundle


class Command(BaseCommand):
    help = "Import a bundle: new repositories whole, known ones forward; every byte is checked as in an upload."

    def add_arguments(self, parser) -> None:
        parser.add_argument("file", type=Path)
        parser.add_argument("--as", dest="user", required=True, metavar="USER", help="who imports; a writer there")
        parser.add_argument("--into", metavar="NAMESPACE", help="put all repositories into this namespace")
        parser.add_argument("--trust", metavar="KEY", action="append", default=[], help="trust this key, this time")
        parser.add_argument("--unsigned-ok", action="store_true", help="take a bundle of an unknown key, or of none")
        parser.add_argument(
            "--dry-run", action="store_true", help="check everything, write no row (gc removes the bytes)"
        )

    def handle(self, *args, file: Path, user, into, trust, unsigned_ok, dry_run, **options) -> None:
        actor = User.objects.filter(username__iexact=user, is_active=True).first()
        if actor is None:
            raise CommandError(f"There is no user {user!r}; make one with manage.py create_user.")
        how = {"into": into, "trust": trust, "unsigned_ok": unsigned_ok, "dry_run": dry_run}
        try:
            plans = import_bundle(file, actor=actor, say=self.stdout.write, **how)
        except (HubError, CompositionError) as error:
            raise CommandError(str(error)) from None
        for plan in plans:
            new = "exists and goes forward" if plan.existing else "is new"
            self.stdout.write(f"{plan.path} {new}: {len(plan.checked)} revisions{', checked' if dry_run else ''}")
