"""The `config.json` a base is registered by: bounded, storable, and without what it has no business to say.

It is sent, or it is that of a model that a worker holds.
"""

from collections.abc import Mapping

from composition.errors import CompositionError
from composition.formats.content import SNIFF_BYTES
from composition.formats.disguises import unmask
from composition.formats.model_config import look_at
from composition.formats.special_floats import tagged, untagged
from composition.formats.strict_json import strict_loads
from hub.access.base_advice import PAGE
from hub.access.offers import is_looking, offer_of, offers
from hub.errors import Invalid
from hub.models import BaseModel
from hub.services.content.manifest import canonical_json

MAX_CONFIG = 1_000_000  # bytes of its canonical JSON


def read_config(data: bytes) -> object:
    """The JSON of a config.json, Infinity and NaN as tags. CompositionError where it is none, saying what it is."""
    if disguise := unmask(".json", data[:SNIFF_BYTES], len(data)):
        message = f"config.json {disguise.problem}. {disguise.do}"
        raise CompositionError(f"content.{disguise.code}", message, field="config", **disguise.facts)
    return strict_loads(data, area="base.config", what="config.json", of_a_base=True, field="config")


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


def held_config(name: str, revision: str, *, administrator: bool) -> tuple[Mapping[str, object], Mapping[str, object]]:
    """(config, source) for a name that was given without a config: of the base that has it, else as a worker holds it.
    A base whose config could not be read counts as none.

    The source is empty for a base that is there: it stays as it is. Invalid `base.not_held` where no running worker
    holds such a model, or where only an administrator may know that one does.
    """
    there = BaseModel.objects.filter(name__iexact=name, revision=revision).first()
    if there is not None and not there.error:
        return there.config, {}
    if found := offer_of(name, revision, administrator=administrator):
        return found["config"], found["source"]
    if is_looking():
        raise Invalid(
            f"A worker is still looking for the models that it holds. Try again in a moment, or send {name}'s "
            f"config.json: hubctl base add {name} --config config.json --wait",
            code="base.looking",
            field="config",
        )
    others = [row["name"] for row in offers(administrator=administrator)]
    held = f"What they hold and nobody has registered: {', '.join(others[:20])}. " if others else ""
    where = "" if revision == "main" else f" at revision {revision}"
    raise Invalid(
        f"No running worker holds a model {name}{where}, so its config.json is needed. {held}"
        f"Send it: hubctl base add {name} --config config.json --wait, or on the page {PAGE}.",
        code="base.not_held",
        field="config",
        held=others,
    )
