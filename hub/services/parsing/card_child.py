"""Renders one card: `card_child.py CHARACTERS CELLS OUTPUT < card.md` prints {"html", "cut"}, or {"refused": why}.

Cards are strangers' Markdown: rendered by markdown-it, then reduced by nh3 to harmless HTML. Only listed tags and
attributes survive; links keep http, https and mailto; pictures come from the repository alone, so that a card can't
watch its readers. Front matter (the YAML between `---` lines) is facts, not text, and is left out.

A path inside the repository is written below `PLACE`, as the same card may be shown at many addresses. It stands
alone, as the isolated interpreter finds nothing of the hub.
"""

import json
import re
import sys
from html import escape
from urllib.parse import quote, unquote, urlsplit

import nh3
from markdown_it import MarkdownIt
from markdown_it.rules_block import StateBlock, table

PLACE = "/-/file/"
FRONT_MATTER = re.compile(r"\A\ufeff?---[ \t]*\r?\n.*?^---[ \t]*(?:\r?\n|\Z)", re.DOTALL | re.MULTILINE)
LANGUAGE = re.compile(r"language-[A-Za-z0-9+#-]{1,30}")
TAGS = set(
    "a abbr b blockquote br caption code dd del details div dl dt em h1 h2 h3 h4 h5 h6 hr i img ins kbd li ol p pre q "
    "s samp strong sub summary sup table tbody td tfoot th thead tr ul var".split()
)
ATTRIBUTES = {
    "a": {"href", "title"},
    "abbr": {"title"},
    "code": {"class"},
    "details": {"open"},
    "img": {"src", "alt", "title", "width", "height"},
    "ol": {"start"},
    "td": {"colspan", "rowspan"},
    "th": {"colspan", "rowspan"},
}


def main(most_characters: int, most_cells: int, most_output: int) -> dict:
    """The card on standard input. Its text is cut at a line's end, and its tables at so many cells together."""
    text = FRONT_MATTER.sub("", sys.stdin.buffer.read().decode("utf-8", "replace"), count=1)
    cut = len(text) > most_characters
    if cut:
        text = text[: text.rfind("\n", 0, most_characters) + 1 or most_characters]
    html = to_html(text, most_cells=most_cells)
    return {"refused": "output"} if len(html) > most_output else {"html": html, "cut": cut}


def to_html(text: str, *, most_cells: int) -> str:
    """Sanitised HTML of Markdown; tables past `most_cells` stay text."""
    return nh3.clean(
        _RENDERER.render(text, {"cells": most_cells}),
        tags=TAGS,
        attributes=ATTRIBUTES,
        attribute_filter=_keep,
        url_schemes={"http", "https", "mailto"},
        link_rel="nofollow noopener ugc",
    )


def _keep(tag: str, attribute: str, value: str) -> str | None:
    if attribute == "class":
        return value if LANGUAGE.fullmatch(value) else None
    if (tag, attribute) not in (("a", "href"), ("img", "src")):
        return value
    inside = _inside(value)
    if inside:
        return PLACE + quote(inside, safe="/~")
    return value if tag == "a" else None


def _inside(value: str) -> str | None:
    """The path, if `value` points into the repository: no scheme, no host, not rooted, not upwards."""
    try:
        parts = urlsplit(value)
    except ValueError:
        return None
    path = unquote(parts.path).removeprefix("./")
    if parts.scheme or parts.netloc or not path or path.startswith(("/", "\\")) or ".." in re.split(r"[/\\]", path):
        return None
    return path


def _picture(self, tokens, index, options, env) -> str:
    """A picture of the repository as `<img>`; one from elsewhere as a link to it."""
    source, words = tokens[index].attrGet("src") or "", tokens[index].content
    if _inside(source):
        return f'<img src="{quote(source, safe="/%")}" alt="{escape(words)}">'
    return f'<a href="{escape(source)}">{escape(words or source)}</a>'


def _bounded_table(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    """markdown-it's table, while the card's cells last: rows are filled up to the heading's columns, so that a few
    kilobytes can ask for millions. The first table that asks for too many ends all tables, so that counting is cheap.
    """
    left = state.env["cells"]
    if left <= 0 or not table(state, start, end, True):
        return False
    columns, row = _line(state, start).count("|") + 1, start + 1
    while row < end and not state.isEmpty(row) and (row - start) * columns <= left:
        row += 1
    if (row - start) * columns > left:
        state.env["cells"] = 0
        return False
    if silent:
        return True
    state.env["cells"] -= (row - start) * columns
    return table(state, start, end, False)


def _line(state: StateBlock, number: int) -> str:
    return state.src[state.bMarks[number] : state.eMarks[number]]


_RENDERER = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
_RENDERER.block.ruler.at("table", _bounded_table, {"alt": ["paragraph", "reference"]})
_RENDERER.add_render_rule("image", _picture)

if __name__ == "__main__":
    json.dump(main(*map(int, sys.argv[1:4])), sys.stdout)
