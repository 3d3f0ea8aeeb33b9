"""`manage.py web`: one web server of a larger site. It migrates the database first, one host at a time."""

import os

from django.core.management.base import BaseCommand, CommandError

from hub.runtime.site import web_command
from hub.services.starting import CannotStart, prepare
from hub.services.starting.static_files import collect_static


class Command(BaseCommand):
    help = "Serve pages, API and the hub's protocol. Workers and beat run beside it; see docs/many-hosts.md."

    def add_arguments(self, parser) -> None:
        parser.add_argument("--host", default="127.0.0.1", help="0.0.0.0 to be reached from other machines")
        parser.add_argument("--port", type=int, default=8000)
        parser.add_argument("--no-migrate", action="store_true", help="wait until somebody else has migrated")

    def handle(self, *args, host: str, port: int, no_migrate: bool, **options) -> None:
        os.umask(0o077)
        try:
            prepare(say=self._say, migrate=not no_migrate)
        except CannotStart as error:
            raise CommandError(str(error)) from None
        collect_static()
        command = web_command(host, port)
        os.execv(command[0], command)

    def _say(self, text: str) -> None:
        self.stdout.write(text)
        self.stdout.flush()
