"""Protected refs of a repository, or of a namespace with all its repositories, and where a ref has been.

hub.protections("demo/sums").add("release-*")
"""

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from hubctl.errors import Refused
from hubctl.requests import part, plain, ref_part

if TYPE_CHECKING:
    from hubctl.client import Hub


class Protections:
    """The rules of `ns/name`, or of the namespace `ns`: refs that only admins create, move and delete."""

    def __init__(self, hub: "Hub", place: str) -> None:
        self.hub = hub
        self.path = f"/repositories/{plain(place)}" if "/" in place else f"/namespaces/{part(place)}"

    def rules(self) -> list[dict[str, Any]]:
        """The rules that hold here, a repository's with its namespace's."""
        return list(self.hub._pages(f"{self.path}/protections"))

    def add(self, pattern: str) -> dict[str, Any]:
        """Protect refs of this name, or pattern with *."""
        return self.hub.transport.json("PUT", self._rule(pattern))

    def remove(self, pattern: str) -> None:
        """Take a rule away."""
        self.hub._delete(self._rule(pattern))

    def history(self, ref: str, limit: int | None = None) -> list[dict[str, Any]]:
        """How a branch or tag of a repository moved, newest first."""
        if not self.path.startswith("/repositories/"):
            raise Refused("Only a repository's refs have a history; write namespace/name.")
        return list(self.hub._pages(f"{self.path}/refs/{ref_part(ref)}/history", limit))

    def _rule(self, pattern: str) -> str:
        return f"{self.path}/protections/{quote(pattern, safe='')}"
