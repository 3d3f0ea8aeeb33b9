"""Cards are strangers' Markdown: rendered by markdown-it, then reduced by nh3 to harmless HTML.

Only listed tags and attributes survive; links keep http, https and mailto; pictures come from the repository alone, so
that a card can't watch its readers. Front matter (the YAML between `---` lines) is facts, not text, and is left out.
"""

import re
from collections.abc import Callable
from urllib.parse import quote, urlsplit

import nh3
from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe
from markdown_it import MarkdownIt

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


def body(text: str) -> str:
    """The card without its front matter."""
    return FRONT_MATTER.sub("", text, count=1)


def to_html(text: str, *, file_url: Callable[[str], str] | None = None) -> SafeString:
    """Sanitised HTML of a card; `file_url` turns a path inside the repository into an address."""

    def keep(tag: str, attribute: str, value: str) -> str | None:
        if attribute == "class":
            return value if LANGUAGE.fullmatch(value) else None
        if (tag, attribute) not in (("a", "href"), ("img", "src")):
            return value
        inside = _inside(value)
        if inside and file_url:
            return file_url(inside)
        return value if tag == "a" and not inside else None

    html = _RENDERER.render(body(text))
    clean = nh3.clean(
        html,
        tags=TAGS,
        attributes=ATTRIBUTES,
        attribute_filter=keep,
        url_schemes={"http", "https", "mailto"},
        link_rel="nofollow noopener ugc",
    )
    return mark_safe(clean)


def _inside(value: str) -> str | None:
    """The path, if `value` points into the repository: no scheme, no host, not rooted, not upwards."""
    parts = urlsplit(value)
    path = parts.path.removeprefix("./")
    if parts.scheme or parts.netloc or not path or path.startswith(("/", "\\")) or ".." in path.split("/"):
        return None
    return path


def _picture(self, tokens, index, options, env) -> str:
    """A picture of the repository as `<img>`; one from elsewhere as a link to it."""
    source, words = tokens[index].attrGet("src") or "", tokens[index].content
    if _inside(source):
        return f'<img src="{quote(source, safe="/%")}" alt="{escape(words)}">'
    return f'<a href="{escape(source)}">{escape(words or source)}</a>'


_RENDERER = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
_RENDERER.add_render_rule("image", _picture)
