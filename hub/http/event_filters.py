"""The audit log's filters as text, from a query string of a page or of the API, to what `hub.queries` takes."""

import ipaddress
from collections.abc import Mapping
from datetime import UTC, datetime, time

from django.utils.dateparse import parse_date, parse_datetime

from hub.errors import Invalid

WORDS = {"actor": 150, "verb": 60, "object": 300, "namespace": 96, "repository": 200}
TIMES = ("since", "until")
FILTERS = (*WORDS, "address", *TIMES)


def read_filters(given: Mapping[str, str]) -> dict[str, object]:
    """Those that are not empty: words, an address in its normal form, moments. Invalid names the one it can't read."""
    found: dict[str, object] = {}
    for name in FILTERS:
        text = (given.get(name) or "").strip()
        if not text:
            continue
        if name in TIMES:
            found[name] = _moment(name, text)
        elif name == "address":
            found[name] = _address(text)
        elif len(text) > WORDS[name] or "\0" in text:
            raise Invalid(f"{name}={text[:40]!r}… is longer than {WORDS[name]} characters.", field=name)
        else:
            found[name] = text
    return found


def _moment(name: str, text: str) -> datetime:
    """A moment, UTC where it says no other zone; a day alone is its beginning, as `until` its end."""
    try:
        day = parse_date(text)
        edge = time.max if name == "until" else time.min
        moment = datetime.combine(day, edge) if day else parse_datetime(text)
        if moment is None or not 1 < moment.year < 9999:
            raise ValueError(text)
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    except ValueError:
        raise Invalid(
            f"{name}={text[:40]!r} is no time: write 2026-03-31, or 2026-03-31T12:00 with a zone such as Z, "
            "else it is UTC.",
            field=name,
        ) from None


def _address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise Invalid(f"address={text[:50]!r} is no IP address, such as 192.0.2.7.", field="address") from None
