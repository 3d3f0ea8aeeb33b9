"""The card of an imported adapter: as it was pushed, and a section of the hub's that names the originals."""

import re
from typing import Any

from composition.formats.peft.names import CONFIG_FILE, ORIGINAL, WEIGHTS_FILE
from hub.services.content.cards import MAX_CARD
from hub.services.content.manifest import Source

BEGIN, END = "<!-- imported: written by the hub -->", "<!-- /imported -->"
_SECTION = re.compile(rf"\n*{re.escape(BEGIN)}.*?{re.escape(END)}\n*", re.DOTALL)


def card_of(plan: Any, given: Source | None) -> bytes:
    """The card as it was pushed, with a section that names the originals; an earlier such section is replaced."""
    names = "".join(f"- `{ORIGINAL}{path}`\n" for path in plan.originals)
    notes = "".join(f"\n{warning}\n" for warning in plan.warnings)
    section = (
        f"{BEGIN}\n## Imported from {plan.label}\n\n`{WEIGHTS_FILE}` and `{CONFIG_FILE}` say the same as the files "
        f"that were pushed, value for value. Those are kept as they were:\n\n{names}{notes}{END}\n"
    ).encode()
    if given is None:
        return b"# Adapter\n\n" + section
    with given.open() as stream:
        data = stream.read(MAX_CARD + 1)
    try:
        text = _SECTION.sub("\n\n", data.decode("utf-8")).rstrip() + "\n\n"
    except UnicodeDecodeError:
        return data  # the card's own check refuses it
    return text.encode() + section
