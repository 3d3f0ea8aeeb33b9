"""`manage.py upkeep`: run what is due; `--list` shows every task, `--forever` serves a site without a worker's."""

import signal
import threading
from json import dumps

from django.core.management.base import BaseCommand, CommandError

from hub.errors import HubError
from hub.services.upkeep import runner
from hub.services.upkeep.status import status


class Command(BaseCommand):
    help = "Run the upkeep that is due. Workers do this by themselves; see docs/operations.md."

    def add_arguments(self, parser) -> None:
        what = parser.add_mutually_exclusive_group()
        what.add_argument("--list", action="store_true", help="show the tasks, their last and their next run")
        what.add_argument("--now", metavar="TASK", nargs="+", help="run these tasks, due or not")
        what.add_argument("--forever", action="store_true", help="look every minute for what is due, until a signal")
        parser.add_argument("--json", action="store_true", help="with --list: rows for programs")

    def handle(self, *args, list: bool, now: list[str] | None, forever: bool, json: bool, **options) -> None:
        if list:
            self._show(json)
        elif forever:
            runner.run_forever(until_a_signal())
        else:
            self._run(now)

    def _run(self, names: list[str] | None) -> None:
        try:
            ran = runner.run_due(names=names)
        except HubError as error:
            raise CommandError(error.message) from None
        if ran is None:
            raise CommandError("Another process is at the upkeep; see manage.py upkeep --list.")
        for row in ran:
            self.stdout.write(f"{row.name:10} {row.outcome:8} {row.message}")
        if not ran:
            self.stdout.write("Nothing is due.")
        if any(row.outcome == runner.FAILED for row in ran):
            raise CommandError("A task failed; it is tried again in ten minutes.")

    def _show(self, for_programs: bool) -> None:
        rows = status()
        if for_programs:
            self.stdout.write(dumps(rows, default=str))
            return
        for row in rows:
            last = f"{row['finished_at']:%Y-%m-%d %H:%M} {row['outcome']}" if row["finished_at"] else "never"
            following = f"{row['next_at']:%Y-%m-%d %H:%M}" if row["next_at"] else "-"
            self.stdout.write(f"{row['name']:10} last {last:25} next {following:17} {row['message']}")


def until_a_signal():
    """A question that is answered with False once SIGINT or SIGTERM has come."""
    stopping = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopping.set())
    return lambda: not stopping.is_set()
