"""What a check finds, what would mend it, and the words for a run under way."""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One contradiction. `repair` says in words what `mend` would do; both are empty where nothing safe can be done."""

    code: str
    where: str
    message: str
    repair: str = ""
    mend: Callable[[], object] | None = field(default=None, compare=False)

    def to_json(self) -> dict[str, str]:
        """The finding for programs."""
        return {"code": self.code, "where": self.where, "message": self.message, "repair": self.repair}


@dataclass(kw_only=True)
class Look:
    """How thoroughly a run looks, and what it has looked at.

    `quick` reads no bytes. Garbage younger than `before` is nobody's fault. `source` is a backup's folder of blobs that
    missing bytes may be taken from. `say` is told of progress every two seconds. What is read again is never read from
    damage: `bad` are digests whose bytes are lost, `broken` the ids of repositories with a damaged history.
    """

    quick: bool
    before: datetime
    source: Path | None = None
    say: Callable[[str], None] = lambda text: None
    bad: set[str] = field(default_factory=set)
    broken: set[int] = field(default_factory=set)
    seen: Counter[str] = field(default_factory=Counter)
    _spoke: float = field(default_factory=time.monotonic)

    def tick(self, what: str, count: int = 1) -> None:
        """Count what was looked at."""
        self.seen[what] += count
        if time.monotonic() - self._spoke > 2:
            self._spoke = time.monotonic()
            self.say(f"  {what}: {self.seen[what]:,} checked")
