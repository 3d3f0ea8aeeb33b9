"""Cards of a megabyte that cost minutes without bounds: each page answers, and the second view renders nothing."""

import resource

import pytest

from hub.services.parsing import card_pages
from tests.hub import factories

MEGABYTE = 1_000_000
TABLE = "|a" * 256 + "|\n" + "|-" * 256 + "|\n" + "|b\n" * 256 + "\n"
HOSTILE = {
    "tables": TABLE,
    "small tables": "|a|\n|-|\n|b|\n\n",
    "heads of tables": "|-|\n",
    "tables in quotes": "> |-|\n",
    "quotes": ">" * 200 + " a\n",
    "one quote": ">",
    "lists": "- " * 40 + "a\n",
    "links": "[",
    "links that never end": "[a](<b",
    "pictures": "![",
    "references": "[a]: b\n[a] ",
    "emphasis": "_*",
    "HTML": "<div>",
    "tables of HTML": "<table><tr><td>",
    "comments": "<!--",
    "code": "`a``b",
}


@pytest.fixture(autouse=True)
def _folder(settings, tmp_path, monkeypatch):
    """A cache of its own, and patience: what is bounded is the processor's time, however busy the machine is."""
    settings.CARD_CACHE = tmp_path / "cards"
    monkeypatch.setattr(card_pages, "WALL", 120.0)


def processor_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def shown(page) -> bytes:
    return page.content.partition(b'<article class="card">')[2].partition(b"</article>")[0]


@pytest.mark.django_db
@pytest.mark.parametrize("piece", HOSTILE.values(), ids=HOSTILE)
def test_no_card_costs_more_than_its_bounds(client, people, base, piece, monkeypatch):
    card = (piece * (MEGABYTE // len(piece)))[: MEGABYTE - 1]
    factories.make_version(people.owner, namespace=people.lab, card=card, rank=4)
    before = processor_seconds()
    first = client.get("/lab/sentiment")
    assert first.status_code == 200 and shown(first)
    # The reader is stopped after its seconds; one more is for starting and ending processes.
    assert processor_seconds() - before < card_pages.READER.seconds + 1
    assert len(first.content) < card_pages.MOST_OUTPUT + 200_000
    monkeypatch.setattr(card_pages, "READER", None)
    assert shown(client.get("/lab/sentiment")) == shown(first)


def test_the_renderer_gets_no_more_memory_than_it_may(tmp_path):
    """The bound itself, from both sides: what fits is rendered, what asks for more is refused by the system."""
    program = tmp_path / "eat.py"
    program.write_text("import sys, json; bytearray(int(sys.argv[1])); print(json.dumps({'html': '', 'cut': False}))")
    reader = card_pages.Reader(program=program, seconds=2, memory=card_pages.READER.memory)
    assert reader.read(b"", 50_000_000, wall=60) == {"html": "", "cut": False}
    assert reader.read(b"", card_pages.READER.memory, wall=60)["refused"] == "crashed"
