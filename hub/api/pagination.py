"""The API's lists: `{"results": […], "next": url}`, in keyset pages of 1 to 200 rows."""

from collections.abc import Callable

from django.db.models import QuerySet
from rest_framework.request import Request
from rest_framework.response import Response

from hub.errors import Invalid
from hub.http.keyset import after, place_in, read_cursor, write_cursor, write_place
from hub.queries import in_order

PAGE, LARGEST = 50, 200


def page(request: Request, rows: QuerySet, order: tuple[str, ...], show: Callable[[list], list]) -> Response:
    """`{"results": […], "next": url|null}` of rows in `order` (column names, `-` for descending, the last unique)."""
    size = page_size(request)
    cursor = request.query_params.get("cursor")
    rows = rows.order_by(*order)
    if cursor:
        rows = rows.filter(after(order, read_cursor(cursor, order, rows.model)))
    found = list(rows[: size + 1])
    following = None
    if len(found) > size:
        found.pop()
        following = next_url(request, write_cursor(found[-1], order))
    return Response({"results": show(found), "next": following})


def ranked_page(request: Request, rows: QuerySet, ids: list[int], show: Callable[[list], list]) -> Response:
    """The same of rows whose order is that of `ids`."""
    size = page_size(request)
    start = place_in(ids, request.query_params.get("cursor"))
    shown = ids[start : start + size]
    following = next_url(request, write_place(start + size, shown[-1])) if start + size < len(ids) else None
    return Response({"results": show(in_order(rows, shown)), "next": following})


def page_size(request: Request) -> int:
    """`?limit=`: 1 to 200, 50 where it is left out."""
    text = request.query_params.get("limit", str(PAGE))
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= LARGEST):
        raise Invalid(f"limit={text!r}: use a whole number from 1 to {LARGEST}.", field="limit")
    return int(text)


def next_url(request: Request, cursor: str) -> str:
    """This request's absolute address with another cursor."""
    query = request.query_params.copy()
    query["cursor"] = cursor
    return request.build_absolute_uri(f"{request.path}?{query.urlencode()}")
