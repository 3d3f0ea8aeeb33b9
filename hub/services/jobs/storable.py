"""What workers write may hold any character and number, as models make them; no database keeps all of them.

PostgreSQL keeps NUL neither as text nor as JSON, and JSON has no number for what is not finite.
"""

from math import isfinite
from typing import Any


def storable(value: Any) -> Any:
    """The value, of text, lists and dicts of it, without NUL characters, None for a number that is not finite."""
    if isinstance(value, str):
        return value.replace("\0", "")
    if isinstance(value, dict):
        return {storable(name): storable(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [storable(one) for one in value]
    return None if isinstance(value, float) and not isfinite(value) else value
