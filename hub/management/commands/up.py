"""`manage.py up` (make up): bring the database to date, start everything, watch over it until Ctrl-C."""

import json
import os
import time

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.urls import NoReverseMatch, reverse

from hub.queries.administration import has_administrator
from hub.runtime.site import CannotStart, Runtime
from hub.services.starting import keys
from hub.services.starting.static_files import collect_static
from hub.storage import blobs


class Command(BaseCommand):
    """Serve the hub on this machine: web server, worker and, unless REDIS_URL is set, an embedded Valkey."""

    help = __doc__
    requires_system_checks = []

    def add_arguments(self, parser):
        parser.add_argument("--host", default="127.0.0.1")
        parser.add_argument("--port", type=int, default=8000, help="0 picks a free one")
        parser.add_argument("--workers", type=int, default=1)

    def handle(self, *args, host, port, workers, **options):
        began = time.monotonic()
        os.umask(0o077)  # Databases, blobs and logs are this user's alone.
        runtime = Runtime(host=host, port=port, workers=workers, say=self._say)
        try:
            runtime.reserve()
            self._say(f"Adapter hub, data in {settings.HUB_DATA}")
            call_command("migrate", interactive=False, verbosity=0)
            self._say("  database up to date")
            if trouble := blobs.trouble():
                raise CannotStart(trouble)
            keys.require_the_sites_key()
            collect_static()
            with runtime:
                self._say(f"\n{self._welcome(runtime.url)}\n(ready after {time.monotonic() - began:.1f} s)")
                runtime.watch()
        except CannotStart as error:
            raise CommandError(str(error)) from None
        except KeyboardInterrupt:
            raise CommandError("Stopped before everything was up.") from None
        finally:
            runtime.stop()
        self._say("Stopped. The data stays.")

    def _say(self, text):
        self.stdout.write(text)
        self.stdout.flush()

    def _welcome(self, url):
        demo = settings.HUB_DATA / "demo.json"
        if demo.exists():
            account = json.loads(demo.read_text())
            sign_in = f"  Sign in   {account['username']} / {account['password']}   (made by `make demo`)"
        else:
            try:
                page = reverse("sign_up")
            except NoReverseMatch:
                page = "/"
            sign_in = f"  Sign up   {url}{page}   (the first account is yours)"
        lines = [f"  Open      {url}", sign_in, f"  Logs      {settings.HUB_DATA / 'logs'}"]
        administered = has_administrator()
        if administered is None:
            lines.append("  The first account administers this hub: make it before others can reach the address.")
        elif not administered:
            lines.append("  No one administers this hub. Choose someone: manage.py create_user NAME --admin")
        return "\n".join([*lines, "  Ctrl-C stops everything; the data stays."])
