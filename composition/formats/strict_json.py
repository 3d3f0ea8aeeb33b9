"""JSON from strangers, refused unless it has exactly one reading.

Python's `json` takes the last of two equal keys, reads NaN and overflows 1e999 to infinity. Two programs may then see
two different files in the same bytes, so all three are refused here.
"""

import json
import math

from composition.errors import CompositionError
from composition.formats.special_floats import tag


def _refuse_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    result: dict[str, object] = {}
    for key, value in pairs:
        if key in result:
            raise _Refused("duplicate_key", f"the key {shorten(key)} appears twice in one object")
        result[key] = value
    return result


def _refuse_constant(name: str) -> object:
    raise _Refused("not_finite", f"{name} is not a JSON number")


def _finite_float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise _Refused("not_finite", f"the number {shorten(text)} is too large")
    return value


class _Refused(Exception):
    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


_DECODER = json.JSONDecoder(
    object_pairs_hook=_refuse_duplicates, parse_constant=_refuse_constant, parse_float=_finite_float
)
_OF_BASES = json.JSONDecoder(object_pairs_hook=_refuse_duplicates, parse_constant=tag, parse_float=_finite_float)


def shorten(value: object, limit: int = 80) -> str:
    """A value made fit for a message: quoted, on one line, control characters escaped, cut at `limit`."""
    text = ascii(value) if isinstance(value, str) and not value.isprintable() else repr(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def strict_loads(data: bytes, *, area: str, what: str, of_a_base: bool = False, **facts: object) -> object:
    """Decode `data`; `what` names it in messages. `of_a_base` reads Infinity and NaN as `special_floats` tags them.

    Raises CompositionError `{area}.json`, `{area}.duplicate_key` or `{area}.not_finite`, carrying `facts`.
    """
    if not data.strip():
        raise CompositionError(f"{area}.json", f"{what} is empty. Save it again.", **facts)
    if data.startswith(b"\xef\xbb\xbf"):
        problem = "begins with a byte order mark, which JSON has none of. Save it as UTF-8 without BOM."
        raise CompositionError(f"{area}.json", f"{what} {problem}", **facts)
    try:
        value = (_OF_BASES if of_a_base else _DECODER).decode(data.decode("utf-8"))
        # A lone surrogate ("\ud800") decodes but can never be written out again.
        if b"\\u" in data:
            json.dumps(value, ensure_ascii=False).encode("utf-8")
        return value
    except _Refused as refusal:
        raise CompositionError(
            f"{area}.{refusal.reason}", f"{what} can't be read: {refusal}. Write it as plain JSON.", **facts
        ) from None
    except UnicodeError as error:
        raise CompositionError(
            f"{area}.json", f"{what} is not UTF-8 text ({error}). Save it as UTF-8.", **facts
        ) from None
    except RecursionError:
        raise CompositionError(f"{area}.json", f"{what} is nested too deeply to be read.", **facts) from None
    except ValueError as error:
        raise CompositionError(f"{area}.json", f"{what} is not valid JSON: {error}.", **facts) from None
