"""The static files that this process serves: collected where one of them changed, by one process of the host."""

import fcntl
import hashlib

from django.conf import settings
from django.contrib.staticfiles import finders
from django.core.management import call_command


def collect_static() -> None:
    """Collect them into STATIC_ROOT, unless those that are there are these."""
    listing = hashlib.sha256()
    for finder in finders.get_finders():
        for path, storage in finder.list([]):
            listing.update(f"{path} {storage.size(path)} {storage.get_modified_time(path)}\n".encode())
    stamp = settings.STATIC_ROOT / ".collected"
    with settings.STATIC_ROOT.with_suffix(".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if stamp.exists() and stamp.read_text() == listing.hexdigest():
            return
        call_command("collectstatic", interactive=False, verbosity=0, clear=True)
        stamp.write_text(listing.hexdigest())
