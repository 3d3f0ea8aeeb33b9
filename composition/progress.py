"""How a running method reports its progress: one callback, given by the caller."""

from typing import Any, Protocol


class Progress(Protocol):
    """Called with the fraction done in [0, 1], a message for people, and figures: a loss, or numbers by name."""

    def __call__(self, fraction: float, message: str = "", **figures: Any) -> None: ...


def ignore(fraction: float, message: str = "", **figures: Any) -> None:
    """The default: report to no one."""
