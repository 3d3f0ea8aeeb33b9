"""Pages of lists: `Link: <address>; rel="next"`, absolute and by the host that was asked, followed as it stands."""

from urllib.parse import quote

from rest_framework.response import Response

from hub.errors import Invalid
from hub.hf.view import View


def with_next(view: View, rows: list, cursor: str | None) -> Response:
    """The answer, with the way to the next page where there is one."""
    if cursor is None:
        return Response(rows)
    query = view.request.query_params.copy()
    query["cursor"] = cursor
    path = view.request.META.get("hub.raw_path") or quote(view.request.path)
    address = view.request.build_absolute_uri(f"{path}?{query.urlencode()}")
    return Response(rows, headers={"Link": f'<{address}>; rel="next"'})


def limit_of(view: View, standard: int, most: int) -> int:
    """`?limit=`, at most `most` for one page: what is more comes with the next."""
    text = view.query("limit") or str(standard)
    if not (text.isascii() and text.isdigit() and int(text[:9]) > 0):
        raise Invalid(f"limit={text[:20]!r}: use a whole number from 1 on.", field="limit")
    return min(int(text[:9]), most)
