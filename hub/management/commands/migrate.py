"""`manage.py migrate`: Django's command, by one process of all hosts at a time."""

from django.core.management.commands import migrate

from hub.services.starting.database import migrating


class Command(migrate.Command):
    def handle(self, *args, **options):
        if options["plan"] or options["check_unapplied"]:
            return super().handle(*args, **options)
        with migrating(options["database"], self.stdout.write):
            return super().handle(*args, **options)
