"""Doing something again and again: at a steady pace, slower while it fails, at once when it is woken."""

import random
import threading
from collections.abc import Callable

from hubctl.errors import HubctlError, Unreachable

LONGEST = 600.0


def again_and_again(
    turn: Callable[[bool], None],
    *,
    every: float,
    wake: threading.Event,
    said: Callable[[HubctlError, float], None],
    stop: Callable[[], bool] = lambda: False,
) -> None:
    """Call `turn(first)`, wait `every` seconds or until `wake` is set, and so on until `stop()`.

    After a failure the pause doubles, to ten minutes at most, and `said` is told of it with the pause; each pause
    varies by a tenth, so that many machines don't ask at once. A first turn that fails raises, unless the hub is away.
    """
    failures, first = 0, True
    while True:
        wake.clear()  # before the turn: what changes during it is looked at afterwards
        try:
            turn(first)
            failures, first = 0, False
        except HubctlError as error:
            if first and not isinstance(error, Unreachable):
                raise
            failures += 1
            said(error, pause(every, failures))
        if stop():
            return
        wake.wait(pause(every, failures) * random.uniform(0.9, 1.1))


def pause(every: float, failures: int) -> float:
    """The seconds to wait after so many failures in a row."""
    return max(every, min(every * 2.0 ** min(failures, 20), LONGEST))
