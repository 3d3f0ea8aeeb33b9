"""Forms that are refused keep what was typed and say why, at the field where there is one."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from dataclasses import field as field_of

from django.http import HttpResponse

from composition.errors import CompositionError
from hub.errors import HubError, NotFound, NotSignedIn, PermissionDenied


@dataclass
class Refused:
    """Why a form was not taken; empty and 200 as long as it wasn't refused."""

    message: str = ""
    field: str = ""
    status: int = 200

    headers: dict[str, str] = field_of(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.message)

    def on(self, page: HttpResponse) -> HttpResponse:
        """The page that says it, with its status and headers."""
        page.status_code = self.status
        for name, value in self.headers.items():
            page[name] = value
        return page


@contextmanager
def refusal_of(refused: Refused, *kept: type[HubError]) -> Iterator[None]:
    """Catch what a person can mend in the form into `refused`.

    401, 403 and 404 stay pages of their own, but for those in `kept`: a form that asks for a password says itself, as
    422, that it is wrong.
    """
    try:
        yield
    except (HubError, CompositionError) as error:
        own_page = isinstance(error, NotSignedIn | NotFound | PermissionDenied)
        if own_page and not isinstance(error, kept):
            raise
        refused.message = error.message
        refused.field = str(error.facts.get("field", "") or "")
        refused.status = 422 if own_page else getattr(error, "status", 422)
        refused.headers = dict(getattr(error, "headers", {}))
