"""What clients send, read strictly: bounded JSON, no unknown fields, no numbers where strings are expected."""

from rest_framework import serializers

from hub.http.bodies import LARGEST_BODY, BodyTooLarge, ConfigJSONParser, JSONParser

__all__ = [
    "LARGEST_BODY",
    "Body",
    "BodyTooLarge",
    "ConfigJSONParser",
    "JSONParser",
    "Object",
    "Password",
    "Text",
    "Whole",
]


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
