"""What workers write may hold any character, as models write it; PostgreSQL keeps NUL neither as text nor as JSON."""

from typing import Any


def storable(value: Any) -> Any:
    """The value, of text, lists and dicts of it, without NUL characters; other values as they are."""
    if isinstance(value, str):
        return value.replace("\0", "")
    if isinstance(value, dict):
        return {storable(name): storable(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [storable(one) for one in value]
    return value
