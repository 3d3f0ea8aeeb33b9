"""Bodies for every door: JSON read strictly and bounded, with nothing a database can't hold; bytes as they arrive."""

import io
import json
import math

from rest_framework import exceptions
from rest_framework.parsers import BaseParser

from composition.formats.special_floats import tag
from hub.errors import HubError, Invalid

LARGEST_BODY = 5_000_000  # bytes; files go by PUT and are streamed


class BodyTooLarge(exceptions.APIException):
    """A JSON body over the bound."""

    status_code, default_code = 413, "body.too_large"
    default_detail = f"The JSON body is larger than {LARGEST_BODY:,} bytes: send files by PUT to an upload."


def _unique(pairs: list[tuple[str, object]]) -> dict:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("an object names a key twice")
    return found


def _constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")


def _finite(written: str) -> float:
    value = float(written)
    if not math.isfinite(value):
        raise Invalid(f"The number {written[:40]} is too large: the largest is about 1.8e308.")
    return value


class JSONParser(BaseParser):
    """JSON of at most `LARGEST_BODY` bytes, without NaN, infinite numbers, duplicate keys, NUL or half surrogates."""

    media_type = "application/json"
    parse_constant = staticmethod(_constant)

    def parse(self, stream, media_type=None, parser_context=None) -> object:
        data = stream.read(LARGEST_BODY + 1)
        if len(data) > LARGEST_BODY:
            raise BodyTooLarge()
        try:
            body = json.loads(
                data.decode(), object_pairs_hook=_unique, parse_constant=self.parse_constant, parse_float=_finite
            )
            text = json.dumps(body, ensure_ascii=False)
            text.encode()  # half of a surrogate pair can be written in JSON but not stored
        except (ValueError, RecursionError) as error:
            reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
            raise exceptions.ParseError(f"The body is not JSON: {reason}.") from error
        if "\\u0000" in text.replace("\\\\", ""):
            raise exceptions.ParseError("The body holds a NUL character: remove it.")
        return body


class ConfigJSONParser(JSONParser):
    """For a base's config.json, which may hold Infinity and NaN: each becomes the tag that transformers writes."""

    parse_constant = staticmethod(tag)


class LengthRequired(HubError):
    """A body sent in chunks of unknown number, where only its length tells its end."""

    status, code = 411, "length_required"


def body_stream(request) -> io.BufferedIOBase:
    """The request's body as it arrives; a body of unknown length is refused, since WSGI can't tell its end."""
    if not request.META.get("CONTENT_LENGTH") and request.headers.get("Transfer-Encoding"):
        raise LengthRequired("Send the bytes with a Content-Length, not chunked: WSGI can't tell where they end.")
    return request.stream or io.BytesIO()
