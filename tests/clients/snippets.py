"""The snippets of docs/use-from-your-tools.md and of pages, with a test's address and names for the reader's."""

import html
import re
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.clients.table import PAGE

PART = re.compile(r"^## (?P<heading>[^\n]+)$|^```(?P<language>[a-z ]+)\n(?P<text>.*?)^```$", re.S | re.M)
SHOWN = re.compile(r'<summary>([^<]+)</summary>(?:(?!<summary>).)*?<code id="snippet-\d+">(.*?)</code>', re.S)
COMMANDS = str(Path(sys.executable).parent)
"""Where `hf` is, for an environment that takes huggingface_hub from this one."""


def blocks(url: str, tokens: Mapping[str, str]) -> list[list[str]]:
    """[heading, language, text] in the page's order."""
    mine = {"http://127.0.0.1:8000": url, "ah_…": tokens["you"], "org/base": "pico/llama"}
    found, heading = [], "Use it from your tools"
    for part in PART.finditer(PAGE.read_text()):
        heading = part["heading"] or heading
        if part["language"]:
            text = part["text"]
            for theirs, ours in mine.items():
                text = text.replace(theirs, ours)
            found.append([heading, part["language"], text])
    return found


def on_page(text: str) -> dict[str, str]:
    """Label → code of the snippets of an adapter's page."""
    found = SHOWN.findall(text)
    return {html.unescape(label): html.unescape(code) for label, code in found}
