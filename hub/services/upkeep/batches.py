"""Walking many rows with little memory: a batch a query, each after the last key of the one before."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

from django.db.models import Model, QuerySet

BATCH = 500
T = TypeVar("T")
M = TypeVar("M", bound=Model)


def batched(things: Iterable[T], size: int = BATCH) -> Iterator[list[T]]:
    """The things in lists of `size`, the last one shorter."""
    left = iter(things)
    while some := list(islice(left, size)):
        yield some


def rows(found: QuerySet[M], size: int = BATCH) -> Iterator[list[M]]:
    """The rows by primary key, in lists of `size`; what is deleted or added meanwhile disturbs nothing."""
    last = None
    while some := list((found if last is None else found.filter(pk__gt=last)).order_by("pk")[:size]):
        yield some
        last = some[-1].pk


def pks(found: QuerySet, size: int = BATCH) -> Iterator[list]:
    """The same for primary keys alone."""
    last = None
    while some := list(
        (found if last is None else found.filter(pk__gt=last)).order_by("pk").values_list("pk", flat=True)[:size]
    ):
        yield some
        last = some[-1]
