"""The `config.json` a base is registered by: bounded, storable, and without what it has no business to say."""

from collections.abc import Mapping

from composition.errors import CompositionError
from composition.formats.model_config import look_at
from hub.errors import Invalid
from hub.services.content.manifest import canonical_json

KINDS = ("model_type", "_class_name")
MAX_CONFIG = 1_000_000  # bytes of its canonical JSON


def checked_config(config: object) -> dict[str, object]:
    """The config as it is stored: without the fields that are dropped. Invalid with the field `config` otherwise."""
    if not isinstance(config, Mapping) or not any(isinstance(config.get(key), str) for key in KINDS):
        raise Invalid(
            "A base needs its config.json: an object with at least a model_type, or for an image model the _class_name "
            "that diffusers writes.",
            field="config",
        )
    try:
        size = len(canonical_json(config))
    except (ValueError, TypeError, RecursionError):
        raise Invalid("config.json holds NaN, infinity or nests too deeply.", field="config") from None
    if size > MAX_CONFIG:
        raise Invalid(f"config.json has {size:,} bytes; at most {MAX_CONFIG:,} are allowed.", field="config")
    try:
        return look_at(config).config
    except CompositionError as refusal:
        raise Invalid(refusal.message, code=refusal.code, field="config", **refusal.facts) from None
    except RecursionError:
        raise Invalid("config.json nests too deeply.", field="config") from None
