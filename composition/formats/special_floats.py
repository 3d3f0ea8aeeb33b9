"""Infinity and NaN in a base's config.json: JSON has no word for them, and configs need them.

    "time_step_limit": [0.0, Infinity]                   transformers 4, and Python's json
    "time_step_limit": [0.0, {"__float__": "Infinity"}]  transformers 5 (`_encode_special_floats`)

Both are read; the second, which is JSON, is what is stored and sent. Nothing else that people send may hold either.
"""

import math
from collections.abc import Mapping

TAG = "__float__"
VALUES = {"Infinity": math.inf, "-Infinity": -math.inf, "NaN": math.nan}


def tagged(value: object) -> object:
    """The value with {"__float__": name} for each float that JSON has no word for."""
    if isinstance(value, float) and not math.isfinite(value):
        return tag("NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity")
    if isinstance(value, Mapping):
        return {key: tagged(entry) for key, entry in value.items()}
    return [tagged(entry) for entry in value] if isinstance(value, list | tuple) else value


def untagged(value: object) -> object:
    """The inverse: the floats that the tags stand for."""
    if isinstance(value, Mapping):
        if value.keys() == {TAG} and isinstance(value[TAG], str) and value[TAG] in VALUES:
            return VALUES[value[TAG]]
        return {key: untagged(entry) for key, entry in value.items()}
    return [untagged(entry) for entry in value] if isinstance(value, list | tuple) else value


def tag(name: str) -> dict[str, str]:
    """What stands for a constant of Python's json: `Infinity`, `-Infinity` or `NaN`."""
    return {TAG: name}
