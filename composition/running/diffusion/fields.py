"""The fields of a diffusers config, with its class's defaults, checked as they are read. ValueErrors say which."""

from collections.abc import Mapping, Sequence
from typing import Any

from composition.formats.strict_json import shorten

Weight = tuple[str, list[int]]
"""A module's name and the shape of its weight."""


class Fields:
    """A config with its class's defaults; numbers are whole and positive."""

    def __init__(self, config: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
        self._values = {**defaults, **{key: value for key, value in config.items() if key in defaults}}

    def __getitem__(self, key: str) -> Any:
        return self._values[key]

    def whole(self, key: str, most: int = 1 << 20) -> int:
        """A number from 1 to `most`."""
        return whole_number(self[key], key, most)

    def wholes(self, key: str, count: int, most: int = 1 << 20) -> list[int]:
        """One number a block: given as a list, or as one for all."""
        value = self[key]
        values = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value] * count
        if len(values) != count:
            raise ValueError(f"{key} has {len(values)} entries, expected {count}")
        return [whole_number(one, key, most) for one in values]


def whole_number(value: Any, key: str, most: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= most:
        raise ValueError(f"{key} is {shorten(value)}, expected a whole number from 1 to {most}")
    return value
