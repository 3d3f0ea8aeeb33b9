"""The migration that reads what cards say beside their tags, with data, on SQLite and on PostgreSQL."""

import pytest

from tests.hub.upkeep.test_two_databases import manage, server  # noqa: F401

BEFORE = """
import io
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from hub.storage import blobs
get = MigrationExecutor(connection).loader.project_state([("hub", "0018_dataset_names")]).apps.get_model
lab = get("hub", "Namespace").objects.create(name="lab")
cards = {"a": b"---\\nlanguage: en\\ndatasets: [lab/sums]\\n---\\n", "b": b"---\\n- broken\\n---\\n", "c": None}
for name, card in cards.items():
    row = get("hub", "Repository").objects.create(namespace=lab, name=name, kind="adapter")
    revision = get("hub", "Revision").objects.create(repository=row, oid=name * 40)
    get("hub", "Ref").objects.create(repository=row, kind="branch", name="main", revision=revision)
    sha256, size = blobs.put(io.BytesIO(card)) if card else ("0" * 64, 100)  # bytes that the store has lost
    blob = get("hub", "Blob").objects.create(sha256=sha256, size=size)
    get("hub", "ManifestEntry").objects.create(revision=revision, path="README.md", blob=blob)
print("ready")
"""
AFTER = """
from hub.models import CardWord
print(sorted(CardWord.objects.values_list("repository__name", "word")))
"""
WORDS = [("a", "dataset:lab/sums"), ("a", "language:en")]


def forward(data, url: str = "") -> None:
    """Cards of the release before, then the migration."""
    manage(data, "migrate", "hub", "0018", "-v0", url=url)
    assert manage(data, "shell", "-v0", "-c", BEFORE, url=url).strip() == "ready"
    manage(data, "migrate", "-v0", url=url)
    assert manage(data, "shell", "-v0", "-c", AFTER, url=url).strip() == str(WORDS)


@pytest.mark.slow
def test_on_sqlite(tmp_path):
    forward(tmp_path)


@pytest.mark.slow
@pytest.mark.services
def test_on_postgres(tmp_path, server):  # noqa: F811
    forward(tmp_path, server)
