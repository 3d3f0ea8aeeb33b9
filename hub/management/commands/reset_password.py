"""`manage.py reset_password NAME`: a link that sets a new password once, or a new password at once."""

import getpass
import sys

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from hub.errors import HubError
from hub.models import User
from hub.services.signing_in import identities, resets, second_factor
from hub.services.signing_in.passwords import set_password


class Command(BaseCommand):
    """Print a link that sets a new password, once; or ask for the new password."""

    help = __doc__

    def add_arguments(self, parser):
        parser.add_argument("username")
        parser.add_argument("--ask", action="store_true", help="ask for the new password here instead")
        parser.add_argument("--password-stdin", action="store_true", help="read the new password from standard input")
        parser.add_argument("--disconnect", action="store_true", help="take their connections with a provider away too")
        parser.add_argument("--second-factor-off", action="store_true", help="switch the user's one-time codes off too")

    def handle(self, *args, username, ask, password_stdin, second_factor_off, disconnect, **options):
        user = User.objects.filter(username__iexact=username).first()
        if user is None:
            raise CommandError(f"There is no user {username!r}.")
        if not user.is_active:
            raise CommandError(f"{user.username} is deactivated; an administrator must reactivate them first.")
        try:
            if second_factor_off:
                second_factor.switch_off(actor=None, user=user)
            for identity in user.identities.order_by("pk"):
                shown = f"{identity.shown or identity.subject} of {identity.issuer}"
                if disconnect:
                    identities.disconnect(user=user, identity=identity, by_operator=True)
                self.stderr.write(f"{shown} {'no longer signs' if disconnect else 'signs'} in as {user.username}.")
            if ask or password_stdin:
                password = sys.stdin.readline().rstrip("\r\n") if password_stdin else getpass.getpass()
                set_password(actor=None, user=user, password=password, why="operator")
                self.stdout.write(f"{user.username} has a new password; all sessions and tokens have ended.")
            else:
                self.stdout.write(resets.issue_link(actor=None, user=user))
                if not settings.HUB_URL:
                    self.stderr.write("Put the hub's own address before it, or set HUB_URL.")
        except HubError as error:
            raise CommandError(error.message) from None
