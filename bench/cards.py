"""What a hostile card costs: the first view, its memory, each later view; beside markdown-it and nh3 without bounds.

    python bench/cards.py [--quick] [--json FILE]

"first" and "again" are one whole page from the hub's WSGI application; the peer renders the same text in one go, as far
as it gets within 20 seconds. Seconds are wall time; memory is the peak of the renderer's process.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
TABLE = "|a" * 256 + "|\n" + "|-" * 256 + "|\n" + "|b\n" * 256 + "\n"
CARDS = {
    "12 KB of tables": (TABLE, 12_000),
    "1 MB of tables": (TABLE, 1_000_000),
    "1 MB of nested quotes": (">" * 200 + " a\n", 1_000_000),
    "1 MB of links": ("[a](<b", 1_000_000),
    "1 MB of pictures": ("![", 1_000_000),
    "1 MB, all three": (TABLE[:1700] + "\n" + ">" * 200 + " a\n\n" + "[a](b) [" * 40 + "\n\n", 1_000_000),
}
PEER = """
import sys, nh3
from markdown_it import MarkdownIt
nh3.clean(MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).render(sys.stdin.read()))
"""
SECONDS = 20.0


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--quick", action="store_true", help="the first card and the last one")
    options.add_argument("--json", type=Path)
    given = options.parse_args()
    names = [*CARDS][:: len(CARDS) - 1] if given.quick else [*CARDS]
    with tempfile.TemporaryDirectory() as folder:
        rows = [row for name in names for row in measured(name, Path(folder))]
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1) + "\n")


def measured(name: str, folder: Path) -> list[dict]:
    """Print the card's line; its rows."""
    piece, size = CARDS[name]
    text = (piece * (size // len(piece) + 1))[: size - 1]
    first, again, memory = views(text, folder)
    peer, stopped = unbounded(text)
    over = "over " if stopped else ""
    print(
        f"{name:24} first {first:5.2f} s, {memory:4.0f} MB; again {again * 1000:5.1f} ms; "
        f"markdown-it + nh3 {over}{peer:.2f} s"
    )
    case = {"case": name, "peer": "markdown-it and nh3, no bounds", "unit": "s"}
    return [
        {**case, "what": "first view", "ours": first, "theirs": peer, "ratio": peer / first},
        {**case, "what": "later view", "ours": again, "theirs": peer, "ratio": peer / again},
    ]


def views(text: str, folder: Path) -> tuple[float, float, float]:
    """Seconds of the first page, median of nine later ones, and MB of the renderer, in a hub of its own."""
    run = subprocess.run(
        [sys.executable, __file__, "--hub"],
        input=text,
        capture_output=True,
        text=True,
        env={**os.environ, "HUB_DATA": tempfile.mkdtemp(dir=folder), "DJANGO_SETTINGS_MODULE": "tests.settings"},
        cwd=ROOT,
    )
    if run.returncode:
        sys.exit(run.stderr[-3000:])
    return tuple(json.loads(run.stdout.splitlines()[-1]))


def hub() -> None:
    """The hub's own process: a repository with the card of standard input, and its page ten times."""
    import django

    django.setup()
    from django.core.management import call_command
    from django.test import Client
    from django.test.utils import setup_test_environment

    setup_test_environment()
    call_command("migrate", verbosity=0)
    from tests.hub import factories

    base = factories.make_base()
    owner = factories.make_user("bench")
    factories.make_version(owner, base=base, name="card", card=sys.stdin.read())
    client, seconds = Client(), []
    client.get("/bench/none")
    for _ in range(10):
        start = time.perf_counter()
        if client.get("/bench/card").status_code != 200:
            sys.exit("the page failed")
        seconds.append(time.perf_counter() - start)
    memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1000
    print(json.dumps([seconds[0], statistics.median(seconds[1:]), memory]))


def unbounded(text: str) -> tuple[float, bool]:
    """Seconds of the peer in a process of its own, and whether it was stopped."""
    start = time.perf_counter()
    try:
        subprocess.run([sys.executable, "-c", PEER], input=text, text=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return SECONDS, True
    return time.perf_counter() - start, False


if __name__ == "__main__":
    hub() if sys.argv[1:] == ["--hub"] else main()
