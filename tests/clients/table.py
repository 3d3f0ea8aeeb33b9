"""The table of calls and clients in docs/use-from-your-tools.md, from what `make test-clients` found.

`python -m tests.clients.table` writes it anew.
"""

import json
import re
from collections.abc import Mapping

from tests.clients.driving import ROOT

RESULTS = ROOT / "build" / "clients" / "results.json"
PAGE = ROOT / "docs" / "use-from-your-tools.md"
MARKS = re.compile(r"(<!-- calls -->\n).*?(<!-- end of calls -->\n)", re.S)
WORDS = {"yes": "yes", "no": "**no**", "absent": "–"}


def keep(found: Mapping[str, Mapping[str, dict]]) -> None:
    """Add what was found, client → call → row, to what is known of other clients."""
    known = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    for client, rows in found.items():
        known.setdefault(client, {}).update(rows)
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps(known, indent=1))


def rows(known: Mapping[str, Mapping[str, dict]]) -> str:
    """Markdown: a row a call, a column a client."""
    clients = sorted(known, key=lambda name: ([-int(part) for part in name.split()[0].split(".")], len(name)))
    calls = list(dict.fromkeys(call for client in clients for call in known[client]))
    lines = [f"| call | {' | '.join(clients)} |", f"|---|{'---|' * len(clients)}"]
    for call in calls:
        cells = [WORDS[known[client].get(call, {"result": "absent"})["result"]] for client in clients]
        lines.append(f"| {call} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def calls() -> set[str]:
    """The calls that stand in the docs' table."""
    return set(re.findall(r"^\| (.+?) \| (?:yes|–|\*\*no\*\*) ", PAGE.read_text(), re.M))


if __name__ == "__main__":
    made = rows(json.loads(RESULTS.read_text()))
    text, count = MARKS.subn(lambda found: f"{found[1]}{made}{found[2]}", PAGE.read_text())
    if count != 1:
        raise SystemExit(f"{PAGE} has no place for the table: <!-- calls --> and <!-- end of calls --> around it.")
    PAGE.write_text(text)
