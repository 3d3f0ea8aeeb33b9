"""The `config.json` a base is registered by: bounded, storable, and without what it has no business to say."""

from collections.abc import Mapping

from composition.errors import CompositionError
from composition.formats.model_config import look_at
from composition.formats.special_floats import tagged, untagged
from hub.errors import Invalid
from hub.services.content.manifest import canonical_json

MAX_CONFIG = 1_000_000  # bytes of its canonical JSON


def checked_config(config: object) -> dict[str, object]:
    """The config as it is stored: without the fields that are dropped. Invalid with the field `config` otherwise."""
    if not isinstance(config, Mapping) or not isinstance(config.get("model_type"), str):
        raise Invalid("A base needs its config.json: an object with at least a model_type.", field="config")
    try:
        size = len(canonical_json(tagged(config)))
    except (ValueError, TypeError, RecursionError):
        raise Invalid("config.json nests too deeply, or holds what JSON can't.", field="config") from None
    if size > MAX_CONFIG:
        raise Invalid(f"config.json has {size:,} bytes; at most {MAX_CONFIG:,} are allowed.", field="config")
    try:
        return tagged(look_at(untagged(config)).config)
    except CompositionError as refusal:
        raise Invalid(refusal.message, code=refusal.code, field="config", **refusal.facts) from None
    except RecursionError:
        raise Invalid("config.json nests too deeply.", field="config") from None
