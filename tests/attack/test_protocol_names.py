"""File names with characters that mean something elsewhere: on pages, in addresses, in headers, on a disk."""

import html
import re
from urllib.parse import quote, unquote

import pytest
from django.test import Client

from hubctl.download import local_path
from tests.hub import factories
from tests.hub.hf.asking import bytes_of
from tests.hub.hf.wire import Hf, body, put

pytestmark = pytest.mark.django_db
IMAGE = "<img src=x onerror=alert(1)>"
NAMES = [
    *(
        "a?b.txt",
        "a:b.txt",
        "a*b.txt",
        'a"b.txt',
        "a<b>.txt",
        "a|b.txt",
        "a#b.txt",
        "a%2e.txt",
        "a'b.txt",
        "a&amp;b;.txt",
    ),
    *("{{7*7}}.txt", "..a", "a..b", "-rf", "~", "$(id)", "%00.txt", "C:evil.txt", "a b.txt", "javascript:alert(1).md"),
    *("#", "?", "%", "é.txt", "`x`.txt", f"{IMAGE}.txt"),
]


@pytest.fixture
def hf(people, repository, base, store) -> Hf:
    return Hf(people.owner, repository)


def test_pages_show_them_as_text_and_link_to_the_very_file(hf):
    files = {name: name.encode() for name in NAMES}
    assert hf.push(factories.adapter_files() | files).status_code == 200
    browser = Client(raise_request_exception=False)
    page = browser.get("/lab/sentiment/files/latest").content.decode()
    assert IMAGE not in page
    links = {unquote(link.split("/raw/")[1].split("/", 1)[1]): link for link in _links(page) if "/raw/" in link}
    for name in NAMES:
        for address in (links[name], f"/lab/sentiment/resolve/main/{quote(name)}"):
            answer = browser.get(address)
            assert (answer.status_code, bytes_of(answer)) == (200, name.encode()), address
            assert answer["Content-Disposition"].startswith("attachment; filename")


def test_what_a_stranger_proposes_is_shown_as_text(hf, people, repository):
    script = "<script>alert(1)</script>"
    lines = body(put(f"{IMAGE}?.txt", f"said {script}".encode()), summary=script, description=script)
    assert Hf(people.stranger, repository).post("/commit/main?create_pr=1", raw=lines).status_code == 200
    for address in ("/lab/sentiment/discussions", "/lab/sentiment/discussions/1"):
        answer = Client().get(address)
        assert answer.status_code == 200
        assert script not in answer.content.decode() and IMAGE not in answer.content.decode()


@pytest.mark.parametrize(
    "name", ["bad\r\nX-Evil: 1", "a\\..\\b", "../up", "/top", "a//b", "a/./b", "a\u202eb", ".git/config"]
)
def test_names_that_no_disk_or_header_should_see_are_refused(hf, name):
    answer = hf.commit(put(name, b"x"))
    assert answer.status_code == 422 and "X-Evil" not in answer.headers
    assert "\n" not in answer["X-Error-Message"]


@pytest.mark.parametrize("name", NAMES)
def test_a_pull_keeps_them_in_its_folder(name, tmp_path):
    assert local_path(tmp_path, name).resolve().is_relative_to(tmp_path.resolve())


def _links(page: str) -> list[str]:
    return [html.unescape(link) for link in re.findall(r'href="([^"]*)"', page)]
