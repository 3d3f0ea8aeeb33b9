"""`manage.py create_user NAME`: an account from the command line, a new password for one, or an administrator."""

import getpass
import sys

from django.core.management.base import BaseCommand, CommandError

from hub.errors import HubError
from hub.models import User
from hub.services.accounts import create_user
from hub.services.administration import set_administrator
from hub.services.signing_in.passwords import set_password


class Command(BaseCommand):
    """Make an account. The password is asked for, or read from standard input."""

    help = __doc__

    def add_arguments(self, parser):
        parser.add_argument("username")
        parser.add_argument("--email", default="")
        parser.add_argument("--password-stdin", action="store_true")
        parser.add_argument(
            "--admin", action="store_true", help="an administrator of the hub; an account that exists becomes one"
        )
        parser.add_argument("--reset", action="store_true", help="give an account that exists a new password")

    def handle(self, *args, username, email, password_stdin, reset, admin, **options):
        known = User.objects.filter(username=username).first() if reset or admin else None
        needs_password = reset or not known
        password = _read_password(password_stdin) if needs_password else ""
        try:
            if not known:
                known = create_user(username=username, password=password, email=email, is_staff=admin or None)
                done = f"{username} can sign in now"
            elif needs_password:
                set_password(actor=None, user=known, password=password, why="operator")
                done = f"{username} has a new password"
            else:
                done = username
            if admin:
                set_administrator(actor=None, user=known, administrator=True)
        except HubError as error:
            raise CommandError(error.message) from None
        self.stdout.write(f"{done} and administers this hub" if known.is_staff or admin else done)


def _read_password(from_stdin: bool) -> str:
    return sys.stdin.readline().rstrip("\r\n") if from_stdin else getpass.getpass()
