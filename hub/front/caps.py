"""Counts what is under way, so that one address or one user can't hold all there is."""

import contextlib
from collections import Counter
from collections.abc import Iterator

from hub.front.limits import Limits
from hub.front.refusals import Refused

RETRY_AFTER = 5


class Caps:
    """Places, counted by what is held ("body", "answer", "events") and by who holds it; for one event loop."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.total = 0
        self.held: Counter[tuple[str, str]] = Counter()

    @contextlib.contextmanager
    def request(self) -> Iterator[None]:
        """One of all requests under way."""
        if self.total >= self.limits.connections:
            raise Refused(
                503,
                "server.full",
                f"The server has {self.total} requests under way and takes no more: come back in {RETRY_AFTER} s.",
                retry_after=RETRY_AFTER,
            )
        self.total += 1
        try:
            yield
        finally:
            self.total -= 1

    @contextlib.contextmanager
    def place(self, what: str, address: str, user: str = "") -> Iterator[None]:
        """One of the places that the address, and the user where there is one, may hold of `what`."""
        wanted = [((what, f"address {address}"), self.limits.per_address)]
        if user:
            wanted.append(((what, f"user {user}"), self.limits.per_user))
        for key, most in wanted:
            if self.held[key] >= most:
                whose = "this user" if key[1].startswith("user") else "this address"
                raise Refused(
                    429,
                    f"too_many.{what}",
                    f"{most} {NAMES[what]} of {whose} are under way, and that is the most: end one, or come back in "
                    f"{RETRY_AFTER} s.",
                    retry_after=RETRY_AFTER,
                )
        for key, _ in wanted:
            self.held[key] += 1
        try:
            yield
        finally:
            for key, _ in wanted:
                self.held[key] -= 1
                if not self.held[key]:
                    del self.held[key]


NAMES = {"body": "request bodies", "answer": "answers", "events": "event streams"}


class Budget:
    """Bytes that may be held at once, by one address at most `share` of them; for one event loop.

    Who holds nothing gets what they ask for where it is left, however small a share is.
    """

    def __init__(self, most: int, share: int) -> None:
        self.most, self.share, self.used = most, share, 0
        self.held: Counter[str] = Counter()

    def take(self, count: int, address: str = "", *, spare: bool = False) -> bool:
        """Take `count` bytes; False, and nothing taken, where that many are not left.

        `spare` takes what is good to have and not needed: half of all, and of the share, stays free. Without an
        address no share counts.
        """
        parts = 2 if spare else 1
        if self.used + count > self.most // parts:
            return False
        if address and self.held[address] and self.held[address] + count > self.share // parts:
            return False
        self.used += count
        self.held[address] += count
        return True

    @property
    def is_short(self) -> bool:
        """True from the half on: what is left is for those who need little."""
        return 2 * self.used >= self.most

    def give(self, count: int, address: str = "") -> None:
        """Give bytes back."""
        self.used -= count
        self.held[address] -= count
        if not self.held[address]:
            del self.held[address]
