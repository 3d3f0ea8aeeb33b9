"""Pages in a real browser: scripts run, the policy blocks nothing of ours, and the digests of uploads are right."""

import hashlib
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from django.conf import settings

from tests.hub import factories

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [
    pytest.mark.browser,
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here"),
]
FLAGS = """--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking
--disable-component-update --disable-sync --enable-logging=stderr --virtual-time-budget=4000 --dump-dom""".split()


def browse(address: str, profile, *flags: str) -> tuple[str, str]:
    """(the page after its scripts ran, the browser's complaints)."""
    command = [CHROMIUM, *FLAGS, f"--user-data-dir={profile}", *flags, address]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return done.stdout, "\n".join(console)


@pytest.mark.parametrize("width", [pytest.param(390, marks=pytest.mark.slow), 1280])
def test_pages_run_their_scripts_within_the_policy(live_server, tmp_path, width):
    owner = factories.make_user("owner")
    factories.make_base()
    factories.make_version(owner, card="# Card\n\n![x](https://example.org/x.png) <b onclick=alert(1)>b</b>")
    for path in (
        "/",
        "/?search=sent",
        "/owner/sentiment",
        "/owner/sentiment/modules/v1",
        "/owner/sentiment/try",
        "/owner/sentiment/transfer",
        "/merge",
        "/compare",
        "/bases",
    ):
        page, complaints = browse(live_server.url + path, tmp_path, f"--window-size={width},900")
        assert re.search(r'<html[^>]*class="js"', page), f"{path} ran no script"
        assert complaints == "", path


def test_our_sha256_is_sha256(tmp_path):
    code = (Path(settings.ROOT) / "static/sha256.js").read_text().replace("export ", "")
    cases = [0, 1, 55, 56, 63, 64, 65, 119, 120, 1000, 70_001]
    script = (
        f"{code}\nconst bytes = (n) => Uint8Array.from({{ length: n }}, (_, i) => (i * 7 + 3) % 256);"
        f"document.body.textContent = {cases}.map((n) => new Sha256().update(bytes(n)).hex()).join(' ');"
    )
    page = tmp_path / "page.html"
    page.write_text(f"<!doctype html><body><script type=module>{script}</script></body>")
    shown, _ = browse(page.as_uri(), tmp_path / "profile")
    wanted = [hashlib.sha256(bytes((i * 7 + 3) % 256 for i in range(n))).hexdigest() for n in cases]
    assert re.findall(r"[0-9a-f]{64}", shown) == wanted
