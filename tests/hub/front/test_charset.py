"""What charset a Content-Type names breaks no request: queries and forms are UTF-8."""

import io
from wsgiref.util import setup_testing_defaults

import pytest

from hub.asgi import django_application
from hub.wsgi import application

CODECS = [
    "base64",
    "zlib",
    "rot13",
    "idna",
    "punycode",
    "undefined",
    "unicode_escape",
    "utf-16",
    "latin-1",
    "no-such",
    '"',
]
FORM = "application/x-www-form-urlencoded"


def request(charset: str, query: str, served=application):
    environ = {
        "REQUEST_METHOD": "POST",
        "QUERY_STRING": query,
        "CONTENT_TYPE": f"{FORM}; charset={charset}",
        "CONTENT_LENGTH": "11",
        "wsgi.input": io.BytesIO(b"name=%C3%A9"),
    }
    setup_testing_defaults(environ)
    return served.request_class(environ)


@pytest.mark.parametrize("charset", CODECS)
@pytest.mark.parametrize("served", [application, django_application])
def test_any_charset_is_read_as_utf8(served, charset):
    made = request(charset, "search=%C3%A9", served)
    assert (made.GET["search"], made.POST["name"], made.content_type) == ("é", "é", FORM)


def test_a_long_query_is_refused_where_it_is_read_and_not_before():
    request("latin-1", "&".join(f"a{number}=1" for number in range(1200)))
