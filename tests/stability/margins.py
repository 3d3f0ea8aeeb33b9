"""Assertions on what a training reached, whose distance to the bound is written down where MARGINS names a file."""

import json
import os
from pathlib import Path

SEED, MARGINS = "STABILITY_SEED", "STABILITY_MARGINS"
"""The variables by which `python -m tests.stability` gives a run its seed and the file for its margins."""


def at_least(value: float, bound: float, what: str) -> None:
    """Assert value ≥ bound."""
    _note(what, float(value), bound, float(value) - bound)
    assert value >= bound, f"{what}: {value} is less than {bound}"


def at_most(value: float, bound: float, what: str) -> None:
    """Assert value ≤ bound."""
    _note(what, float(value), bound, bound - float(value))
    assert value <= bound, f"{what}: {value} is more than {bound}"


def _note(what: str, value: float, bound: float, margin: float) -> None:
    if MARGINS in os.environ:
        test = os.environ["PYTEST_CURRENT_TEST"].rpartition(" (")[0]
        line = {"test": test, "what": what, "value": value, "bound": bound, "margin": margin}
        with Path(os.environ[MARGINS]).open("a") as file:
            file.write(json.dumps(line) + "\n")
