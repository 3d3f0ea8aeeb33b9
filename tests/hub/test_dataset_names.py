"""The migration that gives datasets a name space of their own, with data, on SQLite and on PostgreSQL."""

import sqlite3

import pytest

from tests.hub.upkeep.test_two_databases import manage, server  # noqa: F401

BEFORE = """
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
get = MigrationExecutor(connection).loader.project_state([("hub", "0017_first_pushes")]).apps.get_model
lab = get("hub", "Namespace").objects.create(name="lab")
rows = get("hub", "Repository").objects
for name, kind in (("a", "adapter"), ("sums", "dataset"), ("gen", "generator")):
    rows.create(namespace=lab, name=name, kind=kind)
print("ready")
"""
AFTER = """
from django.db import IntegrityError, transaction
from hub.models import Namespace, Repository
lab = Namespace.objects.get(name="lab")
assert Repository.objects.count() == 3
for name, kind, free in (
    ("A", "dataset", True), ("SUMS", "adapter", True), ("Gen", "dataset", True),
    ("a", "generator", False), ("gen", "adapter", False), ("sums", "dataset", False), ("A", "dataset", False),
):
    try:
        with transaction.atomic():
            Repository.objects.create(namespace=lab, name=name, kind=kind)
        made = True
    except IntegrityError:
        made = False
    assert made == free, (name, kind)
print(sorted(row.path for row in Repository.objects.select_related("namespace")))
"""
PATHS = ["datasets/lab/A", "datasets/lab/Gen", "datasets/lab/sums", "lab/SUMS", "lab/a", "lab/gen"]


def forward(data, url: str = "") -> None:
    """Rows of the release before, then the migration, then names that it frees and names that stay taken."""
    manage(data, "migrate", "hub", "0017", "-v0", url=url)
    assert manage(data, "shell", "-v0", "-c", BEFORE, url=url).strip() == "ready"
    manage(data, "migrate", "-v0", url=url)
    assert manage(data, "shell", "-v0", "-c", AFTER, url=url).strip() == str(PATHS)


@pytest.mark.slow
def test_on_sqlite(tmp_path):
    forward(tmp_path)
    (file,) = tmp_path.glob("*.sqlite3")
    with sqlite3.connect(file) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)


@pytest.mark.slow
@pytest.mark.services
def test_on_postgres(tmp_path, server):  # noqa: F811
    forward(tmp_path, server)
