"""The field of every recipe that combines adapters: whether quantised copies of one base count as that base."""

from typing import Any

from composition.recipes.base import option


def across_option() -> Any:
    """The field; false by default, for people are to say it."""
    return option(
        "boolean",
        default=False,
        label="Across quantisations",
        help="Take adapters of quantised copies of one base as adapters of that base, which the result is for; they "
        "learnt on rounded weights, so they are slightly off on it.",
    )
