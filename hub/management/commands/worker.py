"""`manage.py worker`: one worker of a larger site. It waits for the database to be migrated, then for jobs."""

import os

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from hub.runtime.site import worker_command
from hub.services.starting import CannotStart, prepare


class Command(BaseCommand):
    help = "Run jobs: those that need a GPU too where this machine has one. Start one for each job at a time."

    def add_arguments(self, parser) -> None:
        parser.add_argument("--name", default="worker", help="for the log; the hub's name for it is made of the host")
        parser.add_argument("--queues", help="cpu, gpu or both: cpu,gpu; by default what this machine has")

    def handle(self, *args, name: str, queues: str | None, **options) -> None:
        os.umask(0o077)
        try:
            prepare(say=self._say, migrate=False)
        except CannotStart as error:
            raise CommandError(str(error)) from None
        os.environ["OMP_NUM_THREADS"] = str(settings.WORKER_THREADS)
        command = worker_command(name, queues=queues)
        os.execv(command[0], command)

    def _say(self, text: str) -> None:
        self.stdout.write(text)
        self.stdout.flush()
