"""`manage.py fsck`: check rows and bytes of the whole hub. Exit code 0: all is well; 1: findings; 2: could not run."""

from json import dumps
from pathlib import Path

from django.core.management.base import BaseCommand, CommandError

from hub.services.upkeep import fsck, releases
from hub.services.upkeep.checks.finding import Finding

MOST_KEPT = 10_000


class Command(BaseCommand):
    help = "Check every row and every byte; with --repair, show a plan and mend what is safe."

    def add_arguments(self, parser) -> None:
        parser.add_argument("--quick", action="store_true", help="look at sizes, read no bytes")
        parser.add_argument("--repair", action="store_true", help="show what would be mended, then ask and do it")
        parser.add_argument("--yes", action="store_true", help="with --repair: do it without asking")
        parser.add_argument("--blobs-from", metavar="FOLDER", help="a backup to take missing or damaged bytes from")
        parser.add_argument("--json", action="store_true", help="one JSON object for programs")

    def handle(self, *args, quick, repair, yes, blobs_from, json, **options) -> None:
        if repair and json and not yes:
            raise CommandError("--json can't ask before it repairs; add --yes.", returncode=2)
        if repair and (later := releases.later()):
            raise CommandError(
                f"A later release has migrated this database ({later[-1]}): repair with it.", returncode=2
            )
        source = Path(blobs_from) / "blobs" if blobs_from else None
        if source and not source.is_dir():
            raise CommandError(f"--blobs-from {blobs_from}: there is no folder blobs in it.", returncode=2)
        self.json, self.how = json, {"quick": quick, "source": source, "say": self._progress}
        found, result = self._look()
        plan = [finding for finding in found if finding.mend]
        if repair and plan and (yes or self._agreed(plan, len(found))):
            result["repaired"] = [finding.to_json() for finding in plan if self._repair(finding)]
            self._say("\nAfter the repair:")
            found, again = self._look()
            result |= again
        if json:
            self.stdout.write(dumps(result, sort_keys=True))
        if found:
            raise CommandError(f"{result['count']} findings; see docs/operations.md for what to do.", returncode=1)

    def _look(self) -> tuple[list[Finding], dict]:
        """The findings, shown as they come, and what a program is told of them."""
        found, count, how = [], 0, fsck.look(**self.how)
        try:
            for finding in fsck.check(how):
                count += 1
                if count <= MOST_KEPT:
                    found.append(finding)
                self._say(f"{finding.code:22} {finding.where}: {finding.message}")
        except Exception as error:
            raise CommandError(f"The check could not go on: {type(error).__name__}: {error}", returncode=2) from None
        checked = ", ".join(f"{number:,} {what}" for what, number in how.seen.items())
        self._say(f"{'No findings' if not count else f'{count:,} findings'}. Checked {checked}.")
        return found, {"count": count, "checked": dict(how.seen), "findings": [one.to_json() for one in found]}

    def _agreed(self, plan: list[Finding], count: int) -> bool:
        self._say("\nThe plan:")
        for finding in plan:
            self._say(f"  {finding.where} ({finding.code}): {finding.repair}")
        self._say(f"{len(plan):,} of {count:,} findings can be mended; no bytes are invented.")
        return input("Do it? [y/N] ").strip().lower() in ("y", "yes")

    def _repair(self, finding: Finding) -> bool:
        trouble = fsck.repair(finding)
        self._say(f"  {finding.where}: {f'not mended: {trouble}' if trouble else finding.repair}")
        return not trouble

    def _say(self, text: str) -> None:
        if not self.json:
            self.stdout.write(text)

    def _progress(self, text: str) -> None:
        self.stderr.write(text)
