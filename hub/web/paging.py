"""Keyset pages for lists people read: the same cursors as the API's, as a link to the rows that follow."""

from django.db.models import Model, QuerySet
from django.http import HttpRequest

from hub import queries
from hub.http.keyset import after, place_in, read_cursor, write_cursor, write_place

PAGE = 30


def page(request: HttpRequest, rows: QuerySet, order: tuple[str, ...], size: int = PAGE) -> tuple[list[Model], str]:
    """(rows of this page, the query string of the next one or ""); `order` ends in a unique column."""
    rows = rows.order_by(*order)
    cursor = request.GET.get("cursor")
    if cursor:
        rows = rows.filter(after(order, read_cursor(cursor, order, rows.model)))
    found = list(rows[: size + 1])
    if len(found) <= size:
        return found, ""
    found.pop()
    query = request.GET.copy()
    query["cursor"] = write_cursor(found[-1], order)
    return found, query.urlencode()


def ranked_page(request: HttpRequest, rows: QuerySet, ids: list[int], size: int = PAGE) -> tuple[list[Model], str]:
    """The same of rows whose order is that of `ids`."""
    start = place_in(ids, request.GET.get("cursor"))
    shown = ids[start : start + size]
    found = queries.in_order(rows, shown)
    if start + size >= len(ids):
        return found, ""
    query = request.GET.copy()
    query["cursor"] = write_place(start + size, shown[-1])
    return found, query.urlencode()
