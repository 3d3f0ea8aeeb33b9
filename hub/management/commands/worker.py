"""`manage.py worker`: one worker of a larger site, or one a GPU. It waits for the database to be migrated, then for
jobs."""

import os

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from hub.runtime.gpus import Group, places
from hub.runtime.site import worker_command
from hub.services.starting import CannotStart, prepare


class Command(BaseCommand):
    help = "Run jobs: those that need a GPU too where this machine has one. Start one for each job at a time."

    def add_arguments(self, parser) -> None:
        parser.add_argument("--name", default="worker", help="for the log; the hub's name for it is made of the host")
        parser.add_argument("--each-gpu", action="store_true", help="as many workers as GPUs, each sees its own")
        parser.add_argument("--queues", help="cpu, gpu or both: cpu,gpu; by default what this machine has")

    def handle(self, *args, name: str, queues: str | None, each_gpu: bool, **options) -> None:
        os.umask(0o077)
        try:
            prepare(say=self._say, migrate=False)
        except CannotStart as error:
            raise CommandError(str(error)) from None
        os.environ["OMP_NUM_THREADS"] = str(settings.WORKER_THREADS)
        if each_gpu:
            self._each_gpu(name, queues or "cpu,gpu")
            return
        command = worker_command(name, queues=queues)
        os.execv(command[0], command)

    def _each_gpu(self, name: str, queues: str) -> None:
        try:
            environments = places(name, os.environ)
        except CannotStart as error:
            raise CommandError(str(error)) from None
        commands = {one: worker_command(one, queues=queues) for one in environments}
        Group(commands, environments, logs=settings.HUB_DATA / "logs", say=self._say).run()

    def _say(self, text: str) -> None:
        self.stdout.write(text)
        self.stdout.flush()
