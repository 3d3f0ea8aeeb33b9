"""The words of a card that are worth finding it by: its prose, without code, addresses and markup."""

import re

from hub.models import words_of
from hub.services.content.cards import Card

READ = 20_000
"""Characters of the body that are looked at."""
NOISE = re.compile(r"^(```|~~~).*?^\1|<[^>]{0,500}>|https?://\S+|`[^`\n]{0,200}`", re.DOTALL | re.MULTILINE)


def card_words(card: Card) -> list[str]:
    """The words in their order, beginning with the card's own description."""
    return words_of(f"{card.description} {NOISE.sub(' ', card.body[:READ])}")
