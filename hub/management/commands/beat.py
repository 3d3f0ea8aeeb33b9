"""`manage.py beat`: the site's periodic work, also while no worker lives."""

import os

from django.core.management.base import BaseCommand, CommandError

from hub.management.commands.upkeep import until_a_signal
from hub.services.starting import CannotStart, prepare
from hub.services.upkeep import beat


class Command(BaseCommand):
    help = "Take jobs back from silent workers, send the outbox, run upkeep. Any number may run; one of them works."

    def handle(self, *args, **options) -> None:
        os.umask(0o077)
        try:
            prepare(say=self._say, migrate=False)
        except CannotStart as error:
            raise CommandError(str(error)) from None
        beat.run(until_a_signal())

    def _say(self, text: str) -> None:
        self.stdout.write(text)
        self.stdout.flush()
