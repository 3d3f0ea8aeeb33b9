"""A card as HTML: rendered once, in a process of its own with bounded time and memory, and kept in a folder.

The folder is a cache of this machine: a file for each card's digest and renderer, which may be deleted at any time, and
is once nobody has looked at it for `KEPT`. What can't be rendered within the bounds is shown as the text it is; a page
never fails for its card.
"""

import contextlib
import hashlib
import logging
import os
import uuid
from datetime import datetime, timedelta
from functools import cache
from html import escape
from importlib.metadata import version
from pathlib import Path

from django.conf import settings
from django.utils import timezone

from hub.errors import Busy
from hub.services.parsing.child import Reader, TooSlow
from hub.services.parsing.gate import Gate
from hub.services.upkeep import sweeps
from hub.storage import blobs

CHILD = Path(__file__).with_name("card_child.py")
PLACE = "/-/file/"
PART = ".part"
MOST_CHARACTERS = 100_000
MOST_CELLS = 20_000
MOST_OUTPUT = 1_000_000
READ = 1_000_000
READER = Reader(program=CHILD, seconds=1, memory=300_000_000)
WALL = 10.0
KEPT = timedelta(days=30)
GATE = Gate("rendering cards", at_once=2, waiting=6, patience=3.0)
CUT = (
    f'<p class="muted">Only the first {MOST_CHARACTERS // 1000} KB of this card are shown; '
    f'<a href="{PLACE}README.md">README.md</a> has the rest.</p>'
)
PLAIN = (
    '<p class="muted">This card asks for more tables or nesting than a page shows, so here is its text. '
    f'<a href="{PLACE}README.md">README.md</a> is the file.</p>'
)
LATER = '<p class="muted">This card has not been rendered yet, as the hub is busy. Reload the page in a moment.</p>'

log = logging.getLogger(__name__)


def card_html(sha256: str, file_address: str) -> str:
    """Sanitised HTML of the card with this digest; paths inside its repository follow `file_address`."""
    return _page(sha256).replace(f'="{PLACE}', f'="{escape(file_address)}')


def forget_old(before: datetime) -> int:
    """Delete what nobody has looked at since; how many files."""
    gone = 0
    for path in (*settings.CARD_CACHE.glob("*.html"), *settings.CARD_CACHE.glob(f"*{PART}")):
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_mtime < before.timestamp():
                path.unlink()
                gone += 1
    return gone


def _page(sha256: str) -> str:
    path = settings.CARD_CACHE / f"{sha256}.{_renderer()}.html"
    try:
        found = path.read_text("utf-8")
    except OSError:
        return _render(sha256, path)
    with contextlib.suppress(OSError):
        if timezone.now().timestamp() - path.stat().st_mtime > timedelta(days=1).total_seconds():
            os.utime(path)
    return found


def _render(sha256: str, path: Path) -> str:
    with blobs.open(sha256) as stream:
        data = stream.read(READ)
    try:
        with GATE.passed():
            found = READER.read(data, MOST_CHARACTERS, MOST_CELLS, MOST_OUTPUT, wall=WALL)
    except Busy:
        return LATER + _text(data)
    except TooSlow as over:
        if over.by_clock:
            return LATER + _text(data)
        found = {"refused": "seconds"}
    page = PLAIN + _text(data) if "refused" in found else found["html"] + (CUT if found["cut"] else "")
    _keep(path, page)
    return page


def _text(data: bytes) -> str:
    return f'<pre class="plain">{escape(data[:MOST_CHARACTERS].decode("utf-8", "replace"))}</pre>'


def _keep(path: Path, page: str) -> None:
    """Keep the page where the disk takes it; else it is rendered again the next time."""
    temporary = path.with_name(f"{uuid.uuid4().hex}{PART}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if sweeps.is_time(path.parent):
            forget_old(timezone.now() - KEPT)
        temporary.write_text(page, "utf-8")
        os.replace(temporary, path)
    except OSError as error:
        log.warning("a rendered card is not kept: %s", error)
        with contextlib.suppress(OSError):
            temporary.unlink()


@cache
def _renderer() -> str:
    """Changes with everything that decides what a card looks like."""
    parts = (CHILD.read_text("utf-8"), CUT, PLAIN, version("markdown-it-py"), version("nh3"), str(MOST_CELLS))
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]
