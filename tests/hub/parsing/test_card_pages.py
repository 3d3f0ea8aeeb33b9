"""A card's page: rendered once in a bounded process, kept, and never the reason that a page fails."""

import errno
import io
import os
import re
from datetime import timedelta
from pathlib import Path

import pytest
from django.utils import timezone

from hub.services.parsing import card_pages
from hub.services.parsing.gate import Gate
from hub.services.upkeep import sweeps
from hub.storage import blobs

AT = "/lab/x/raw/abc/"


@pytest.fixture(autouse=True)
def folder(settings, tmp_path):
    settings.CARD_CACHE = tmp_path / "cards"
    return settings.CARD_CACHE


def stored(text: str) -> str:
    return blobs.put(io.BytesIO(text.encode()))[0]


@pytest.fixture
def child(tmp_path, monkeypatch):
    """Give the renderer's process other code to run."""

    def replaced(code: str) -> None:
        (tmp_path / "child.py").write_text(code)
        reader = card_pages.Reader(program=tmp_path / "child.py", seconds=1, memory=300_000_000)
        monkeypatch.setattr(card_pages, "READER", reader)

    return replaced


def test_a_card_is_rendered_without_its_front_matter():
    card = stored("---\nlicense: mit\n---\n# Name\n\n![p](plot.png)")
    html = card_pages.card_html(card, AT)
    assert html.startswith("<h1>Name</h1>")
    assert "license" not in html
    assert f'src="{AT}plot.png"' in html
    assert "license" in card_pages.card_html(stored("# Name\n\n---\nlicense: mit\n---\n"), AT)


def test_it_is_rendered_once_and_shown_at_every_address(child):
    card = stored("[notes](notes.md)")
    first = card_pages.card_html(card, AT)
    child("raise SystemExit('rendered again')")
    assert card_pages.card_html(card, AT) == first
    assert 'href="/other/raw/notes.md"' in card_pages.card_html(card, "/other/raw/")


def test_a_long_card_is_cut_at_a_line_and_says_so():
    whole = card_pages.card_html(stored("word\n\n" * (card_pages.MOST_CHARACTERS // 6)), AT)
    longer = card_pages.card_html(stored("word\n\n" * (card_pages.MOST_CHARACTERS // 6 + 1)), AT)
    assert "README.md" not in whole
    assert f'<a href="{AT}README.md">' in longer
    assert set(re.findall(r"<p>(.*?)</p>", longer)) == {"word"}


@pytest.mark.parametrize(
    "code",
    [
        "while True: pass",
        "bytearray(1 << 30)",
        "import os; os.abort()",
        """print('{"refused": "output"}')""",
    ],
    ids=["time", "memory", "crash", "output"],
)
def test_what_goes_beyond_the_bounds_is_shown_as_text_and_kept(child, code):
    card = stored("# <b>Name</b>\n\nwords")
    child(code)
    html = card_pages.card_html(card, AT)
    assert '<pre class="plain"># &lt;b&gt;Name&lt;/b&gt;' in html
    assert f'href="{AT}README.md"' in html
    child("raise SystemExit('rendered again')")
    assert card_pages.card_html(card, AT) == html


def test_a_busy_hub_shows_the_text_now_and_renders_it_later(monkeypatch):
    card, gate = stored("# Name"), Gate("rendering cards", at_once=1, waiting=0, patience=0.01)
    monkeypatch.setattr(card_pages, "GATE", gate)
    with gate.passed():
        assert '<pre class="plain"># Name</pre>' in card_pages.card_html(card, AT)
    assert card_pages.card_html(card, AT).strip() == "<h1>Name</h1>"


def test_a_clock_that_ran_out_is_no_verdict_on_the_card(child, monkeypatch):
    card = stored("# Name")
    with monkeypatch.context() as slow:
        slow.setattr(card_pages, "WALL", 0.001)
        assert '<pre class="plain"># Name</pre>' in card_pages.card_html(card, AT)
    assert card_pages.card_html(card, AT).strip() == "<h1>Name</h1>"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES])
@pytest.mark.parametrize("step", ["mkdir", "write_text", "replace"])
def test_a_disk_that_takes_no_page_shows_it_all_the_same(folder, monkeypatch, number, step):
    """And what was begun is gone, so that no view leaves a file behind."""

    def refused(self, *args, **_):
        if step == "write_text":
            self.touch()
        raise OSError(number, "refused")

    card = stored("# Name")
    with monkeypatch.context() as full:
        full.setattr(*((card_pages.os, "replace") if step == "replace" else (Path, step)), refused)
        assert card_pages.card_html(card, AT).strip() == "<h1>Name</h1>"
    assert not [path for path in folder.glob("*") if path.name != sweeps.MARK]


def test_a_kept_page_is_shown_from_a_disk_that_can_not_be_written(folder, monkeypatch, child):
    card = stored("# Name")
    first = card_pages.card_html(card, AT)
    (path,) = folder.glob("*.html")
    os.utime(path, (0, 0))
    child("raise SystemExit('rendered again')")

    def refused(*_):
        raise OSError(errno.EROFS, "read-only")

    with monkeypatch.context() as readonly:
        readonly.setattr(card_pages.os, "utime", refused)
        assert card_pages.card_html(card, AT) == first


def test_what_a_killed_process_began_is_forgotten(folder):
    folder.mkdir()
    (folder / "half.part").write_text("half")
    assert card_pages.forget_old(timezone.now() - timedelta(days=1)) == 0
    assert card_pages.forget_old(timezone.now() + timedelta(days=1)) == 1


def test_old_pages_are_forgotten_and_come_back(folder):
    card = stored("# Name")
    first = card_pages.card_html(card, AT)
    assert card_pages.forget_old(timezone.now() - timedelta(days=1)) == 0
    assert card_pages.forget_old(timezone.now() + timedelta(days=1)) == 1
    assert not list(folder.glob("*.html"))
    assert card_pages.card_html(card, AT) == first


def test_a_machine_without_upkeep_forgets_them_when_it_keeps_another(folder):
    first = stored("# Name")
    card_pages.card_html(first, AT)
    (old,) = folder.glob("*.html")
    for path in (old, folder / ".swept"):
        os.utime(path, (1, 1))
    card_pages.card_html(stored("# Other"), AT)
    assert not old.exists() and len(list(folder.glob("*.html"))) == 1
