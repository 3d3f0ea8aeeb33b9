"""What a list reads is bounded: queries, rows and bytes, with two thousand repositories and heavy facts.

Rows and bytes are counted where SQLite hands them over, so that nothing a query brings goes uncounted.
"""

from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from django.db import connection
from django.test import Client

from bench import hub_rows
from hub.models import Version
from hub.queries.finding import ranking

pytestmark = pytest.mark.django_db
LISTS = {
    "/": (10, 600),
    "/?sort=name": (10, 600),
    "/?kind=generator": (10, 600),
    "/?base=llamaai/llama1-1b": (14, 6_000),
    "/?rank=16&license=mit": (14, 9_000),
    "/?tag=sql 0": (14, 6_000),
    "/?search=1711": (20, 6_000),
    "/?search=qwen": (24, 9_000),
    "/?search=rank": (24, 9_000),
    "/?search=sql&sort=updated": (24, 9_000),
    "/?search=phylosophy": (40, 9_000),
    "/org3": (20, 400),
    "/bases": (10, 400),
    "/api/v1/repositories?limit=30": (6, 200),
    "/api/v1/repositories?search=qwen&limit=30": (24, 6_000),
    "/api/v1/bases": (8, 400),
    "/api/models?limit=30": (6, 200),
    "/api/models?limit=30&full=true": (8, 300),
    "/api/models?search=qwen&limit=30": (12, 2_000),
    "/api/models?filter=sql 0&limit=30": (9, 200),
}
"""Address → at most so many queries and rows."""
BYTES_A_ROW = 700


@pytest.fixture(scope="module")
def shelf(django_db_setup, django_db_blocker) -> Iterator[SimpleNamespace]:
    """Two thousand repositories; the first page's have the facts and reports of 224 modules."""
    with django_db_blocker.unblock():
        hub_rows.fill(2000)
        hub_rows.make_heavy()
        member = hub_rows.add_member()
        yield SimpleNamespace(member=member)
        clear()


def clear() -> None:
    """Take everything out again: other tests of this process have an empty hub."""
    from django.core.management import call_command

    call_command("flush", interactive=False, verbosity=0)


class Read:
    """Queries, rows and bytes that were read."""

    def __init__(self) -> None:
        self.queries = self.rows = self.bytes = 0

    def row(self, cursor: object, values: tuple) -> tuple:
        self.rows += 1
        self.bytes += sum(len(value) if isinstance(value, str | bytes) else 8 for value in values)
        return values

    def query(self, execute, sql, params, many, context):
        self.queries += 1
        return execute(sql, params, many, context)


def read(client: Client, path: str) -> Read:
    found = Read()
    connection.ensure_connection()
    connection.connection.row_factory = found.row
    try:
        with connection.execute_wrapper(found.query):
            assert client.get(path).status_code == 200
    finally:
        connection.connection.row_factory = None
    return found


@pytest.fixture
def on_sqlite() -> None:
    if connection.vendor != "sqlite":
        pytest.skip("rows are counted by SQLite's own hook")


@pytest.mark.parametrize("path", LISTS)
def test_a_list_reads_little(on_sqlite, shelf, path):
    queries, rows = LISTS[path]
    member = Client()
    member.force_login(shelf.member)
    for client in (Client(), member):
        found = read(client, path)
        assert found.queries <= queries + (0 if client is not member else 8), path
        assert 0 < found.rows <= rows, path
        assert found.bytes <= BYTES_A_ROW * found.rows + 40_000, path


def test_the_facts_of_the_rows_on_the_first_page_are_heavy_indeed(on_sqlite, shelf):
    """Otherwise the test above would prove nothing."""
    found = Read()
    connection.connection.row_factory = found.row
    try:
        list(Version.objects.filter(report__isnull=False))
    finally:
        connection.connection.row_factory = None
    assert found.bytes > 30 * BYTES_A_ROW * 20


def test_a_broad_search_ranks_no_more_than_it_is_bounded_to(on_sqlite, shelf, monkeypatch):
    monkeypatch.setattr(ranking, "MOST", 60)
    monkeypatch.setattr(ranking, "FEW", 90)
    found = read(Client(), "/?search=rank&sort=relevance")
    assert found.rows < 1_000
