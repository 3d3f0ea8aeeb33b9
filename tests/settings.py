"""The hub's settings for tests: a data folder that vanishes, a database file of its own, cheap password hashes.

Nothing waits for the disk: what a power cut would cost a test is nothing. `tests/hub/content/test_storage.py` has the
order of writes.

With DATABASE_URL the tests run on that server instead, in a database of this process.
"""

import atexit
import os
import shutil
import tempfile

os.environ["HUB_DATA"] = tempfile.mkdtemp(prefix="hub-test-")
os.environ.pop("STORAGE_URL", None)
os.environ.setdefault("HUB_SECRET_KEY", "only for tests, and long enough for Django's own check of it")
atexit.register(shutil.rmtree, os.environ["HUB_DATA"], ignore_errors=True)
os.fsync = lambda handle: None

from hub.settings import *  # noqa: E402, F403
from hub.settings import DATABASES, HUB_DATA, STORAGES, caches  # noqa: E402

if DATABASES["default"]["ENGINE"].endswith("sqlite3"):
    # A file, so that threads and live servers share it under the locks that a real hub has.
    DATABASES["default"]["TEST"] = {"NAME": str(HUB_DATA / "test.sqlite3")}
    DATABASES["default"]["OPTIONS"]["init_command"] = "PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF;"
else:
    DATABASES["default"]["TEST"] = {"NAME": f"test_hub_{os.getpid()}"}
    DATABASES["default"]["OPTIONS"]["options"] = "-c synchronous_commit=off"
    DATABASES["default"]["CONN_MAX_AGE"] = 0
    # Each thread of a test opens and closes its own; tests/hub/starting/test_connections.py has the pool.
    DATABASES["default"]["OPTIONS"].pop("pool", None)
# What one test worked out is none of another's.
CACHES = caches("")
# Looking for models in folders, packages and caches costs each worker seconds; tests of it ask for it.
WORKER_OFFERS = False
# How full this machine's disk is decides no test.
MIN_FREE_MB = 0
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
STORAGES["staticfiles"] = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
