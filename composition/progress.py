"""How a running method tells where it is: one callback, given by the caller."""

from typing import Protocol


class Progress(Protocol):
    """Called with the fraction done in [0, 1], a message for people, and figures such as a loss."""

    def __call__(self, fraction: float, message: str = "", **figures: float) -> None: ...


def ignore(fraction: float, message: str = "", **figures: float) -> None:
    """The default: nobody is watching."""
