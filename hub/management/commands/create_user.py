"""`manage.py create_user NAME`: an account from the command line, or a new password for one."""

import getpass
import sys

from django.core.management.base import BaseCommand, CommandError

from hub.errors import HubError
from hub.models import User
from hub.services.accounts import create_user
from hub.services.signing_in.passwords import set_password


class Command(BaseCommand):
    """Make an account. The password is asked for, or read from standard input."""

    help = __doc__

    def add_arguments(self, parser):
        parser.add_argument("username")
        parser.add_argument("--email", default="")
        parser.add_argument("--password-stdin", action="store_true")
        parser.add_argument("--reset", action="store_true", help="give an account that exists a new password")

    def handle(self, *args, username, email, password_stdin, reset, **options):
        password = sys.stdin.readline().rstrip("\r\n") if password_stdin else getpass.getpass()
        known = User.objects.filter(username=username).first() if reset else None
        try:
            if known:
                set_password(actor=None, user=known, password=password, why="operator")
            else:
                create_user(username=username, password=password, email=email)
        except HubError as error:
            raise CommandError(error.message) from None
        self.stdout.write(f"{username} has a new password" if known else f"{username} can sign in now")
