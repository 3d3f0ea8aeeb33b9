"""Queries and forms are read as UTF-8, whatever charset a request's Content-Type names.

Django takes every name that Python has a codec for, and reads the query by it before anything can answer for what goes
wrong there: with base64, idna and other codecs that are no texts', or with too many fields, the request is an error of
the server.
"""

from django.core.handlers.wsgi import WSGIRequest
from django.utils.http import parse_header_parameters


class Utf8Request(WSGIRequest):
    """A request whose Content-Type says what its body is, and not how its address is read."""

    def _set_content_type_params(self, meta) -> None:
        self.content_type, self.content_params = parse_header_parameters(meta.get("CONTENT_TYPE", ""))
