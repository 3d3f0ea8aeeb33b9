"""Forms that are refused keep what was typed and say why, at the field where there is one."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from composition.errors import CompositionError
from hub.errors import HubError, NotFound, NotSignedIn, PermissionDenied


@dataclass
class Refused:
    """Why a form was not taken; empty and 200 as long as it wasn't refused."""

    message: str = ""
    field: str = ""
    status: int = 200

    def __bool__(self) -> bool:
        return bool(self.message)


@contextmanager
def refusal_of(refused: Refused) -> Iterator[None]:
    """Catch what a person can mend in the form into `refused`; 401, 403 and 404 stay pages of their own."""
    try:
        yield
    except (NotSignedIn, NotFound, PermissionDenied):
        raise
    except (HubError, CompositionError) as error:
        refused.message = error.message
        refused.field = str(error.facts.get("field", "") or "")
        refused.status = getattr(error, "status", 422)
