"""What clients send, read strictly: bounded JSON, no unknown fields, no numbers where strings are expected."""

import json
import math

from rest_framework import exceptions, serializers
from rest_framework.parsers import BaseParser

from composition.formats.special_floats import tag
from hub.errors import Invalid

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


class Text(serializers.CharField):
    """A string; numbers are not turned into one."""

    def to_internal_value(self, data: object) -> str:
        if not isinstance(data, str):
            self.fail("invalid")
        return super().to_internal_value(data)


class Password(Text):
    """A password as it was typed; how long it may be is the rule of `hub.services.signing_in.passwords`."""

    def __init__(self, **options: object) -> None:
        super().__init__(trim_whitespace=False, **options)


class Whole(serializers.IntegerField):
    """A whole number; neither a string of digits, a fraction, nor true."""

    def to_internal_value(self, data: object) -> int:
        if not isinstance(data, int) or isinstance(data, bool):
            self.fail("invalid")
        return super().to_internal_value(data)


class Object(serializers.JSONField):
    """A JSON object; its contents are checked elsewhere."""

    default_error_messages = {"object": "Expected a JSON object."}

    def to_internal_value(self, data: object) -> dict:
        if not isinstance(data, dict):
            self.fail("object")
        return data


class Body(serializers.Serializer):
    """A request body or query: a field it doesn't know is refused, not dropped."""

    def to_internal_value(self, data: object) -> dict:
        if isinstance(data, dict):
            writable = {name for name, field in self.fields.items() if not field.read_only}
            if unknown := sorted(set(data) - writable):
                known = ", ".join(sorted(writable)) or "none"
                raise serializers.ValidationError({unknown[0]: f"Unknown field. This takes: {known}."})
        return super().to_internal_value(data)
