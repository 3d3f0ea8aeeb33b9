"""Where the request that is being answered comes from. The audit log asks; a worker's or a command's acts have none."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_address: ContextVar[str | None] = ContextVar("address", default=None)


def address() -> str | None:
    """The client's IP address, or None outside a request."""
    return _address.get()


@contextmanager
def coming_from(address: str | None) -> Iterator[None]:
    """Everything in the block is done for a client at this address."""
    before = _address.set(address)
    try:
        yield
    finally:
        _address.reset(before)
