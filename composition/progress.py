"""How a running method reports its progress: one callback, given by the caller."""

from typing import Any, Protocol


class Progress(Protocol):
    """Called with the fraction done in [0, 1], a message for people, and figures: a loss, or numbers by name."""

    def __call__(self, fraction: float, message: str = "", **figures: Any) -> None: ...


def ignore(fraction: float, message: str = "", **figures: Any) -> None:
    """The default: report to no one."""


def share_of(progress: Progress, begin: float, size: float, of: str = "") -> Progress:
    """The callback of a part of the work, which begins at `begin` and is `size` of it; `of` ends its messages."""

    def told(fraction: float, message: str = "", **figures: Any) -> None:
        progress(begin + size * fraction, f"{message} {of}" if of else message, **figures)

    return told
