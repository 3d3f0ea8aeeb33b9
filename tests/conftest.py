"""For all rooms: one thread for numerics, and no time for what no test is about."""

import gc
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.database import delete_to_flush, put_migrated
from tests.object_store import bucket, s3_server  # noqa: F401

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
# A core that others keep busy draws slowly too: that says nothing about what is tested.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection() -> Iterator[None]:
    """Collect without the garbage collector, and keep what is there then out of its later rounds.

    torch, transformers and thousands of tests are a million objects that live to the end; walking them over and over
    was a quarter of the collection's time.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def _is_sqlite() -> bool:
    from django.conf import settings

    return settings.DATABASES["default"]["ENGINE"].endswith("sqlite3")


@pytest.fixture(scope="session")
def django_db_keepdb(request) -> bool:
    """SQLite's database is there already; the data folder goes at the end, and it with it."""
    return _is_sqlite() or request.config.getvalue("reuse_db")


@pytest.fixture(scope="session")
def django_db_modify_db_settings(django_db_modify_db_settings_parallel_suffix) -> None:
    """The migrated database of this process, or a quick way to empty it."""
    from django.conf import settings

    if _is_sqlite():
        put_migrated(Path(settings.DATABASES["default"]["TEST"]["NAME"]))
    else:
        delete_to_flush()
