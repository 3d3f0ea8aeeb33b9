"""Keyset pages: a cursor carries the last row's sort values, so page 1,000 costs what page 1 costs, and rows that
arrive in between are neither skipped nor shown twice.

The cursor is opaque to clients and checked like any input. A sort is a name of a fixed map, never a column name.
"""

import base64
import binascii
import json
from collections.abc import Mapping
from datetime import datetime

from django.core.exceptions import ValidationError
from django.db.models import Model, Q
from django.utils.dateparse import parse_datetime

from hub.errors import Invalid

REFUSED = "cursor: it is not from this list and sort; take it from `next` of the page before."
RANKED = "ranked"


def after(order: tuple[str, ...], values: list) -> Q:
    """Rows past `values`: a > x or (a = x and (b > y or …)), with < where a column descends."""
    condition = Q()
    for column, value in reversed(list(zip(order, values, strict=True))):
        name = column.lstrip("-")
        beyond = Q(**{f"{name}__{'lt' if column.startswith('-') else 'gt'}": value})
        condition = beyond | (Q(**{name: value}) & condition) if condition else beyond
    return condition


def write_cursor(row: Model | Mapping, order: tuple[str, ...]) -> str:
    """The row's place in this order, base64 of JSON."""
    names = [column.lstrip("-") for column in order]
    values = [row[name] if isinstance(row, Mapping) else getattr(row, name) for name in names]
    place = [",".join(order), *(value.isoformat() if isinstance(value, datetime) else value for value in values)]
    return base64.urlsafe_b64encode(json.dumps(place).encode()).decode().rstrip("=")


def read_cursor(cursor: str, order: tuple[str, ...], model: type[Model]) -> list:
    """The values of `write_cursor`; one of another list or another sort is refused."""
    try:
        place = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        name, *values = place
        if name != ",".join(order) or len(values) != len(order):
            raise ValueError("another order")
        return [_value(model, column, value) for column, value in zip(order, values, strict=True)]
    except (ValueError, TypeError, binascii.Error, RecursionError, ValidationError) as error:
        raise Invalid(REFUSED, field="cursor") from error


def write_place(place: int, last: int) -> str:
    """The cursor of a list in an order of its own: how many came before, and the id of the last of them."""
    return base64.urlsafe_b64encode(json.dumps([RANKED, place, last]).encode()).decode().rstrip("=")


def place_in(ids: list[int], cursor: str | None) -> int:
    """Where a list of ids goes on after `write_place`: after the last one shown, wherever it stands now."""
    if not cursor:
        return 0
    try:
        name, place, last = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        if name != RANKED or not all(type(one) is int and 0 <= one < 2**63 for one in (place, last)):
            raise ValueError("another order")
    except (ValueError, TypeError, binascii.Error, RecursionError) as error:
        raise Invalid(REFUSED, field="cursor") from error
    return ids.index(last) + 1 if last in ids else place


def _value(model: type[Model], column: str, value: object) -> object:
    field = model._meta.get_field(column.lstrip("-"))
    if field.get_internal_type() == "DateTimeField":
        moment = parse_datetime(value)
        if moment is None or moment.tzinfo is None:
            raise ValueError(value)
        return moment
    if field.get_internal_type() in ("CharField", "UUIDField"):
        if not isinstance(value, str) or "\0" in value:
            raise ValueError(value)
        return field.to_python(value)
    if not isinstance(value, int) or isinstance(value, bool) or abs(value) >= 2**63:
        raise ValueError(value)
    return value
