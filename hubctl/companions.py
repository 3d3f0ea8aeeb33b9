"""What is kept beside a repository: seed examples, discriminators, the rows a transfer invented. Private by default.

hub.companions("demo/sums").add("seeds", "seeds.jsonl", b'{"prompt": "1 + 1 ="}\n')
"""

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from hubctl.errors import NotFound, Refused

if TYPE_CHECKING:
    from hubctl.client import Hub


class Companions:
    """The companions of one repository, as far as the user may see them."""

    def __init__(self, hub: "Hub", path: str) -> None:
        self.hub, self.path = hub, f"/repositories/{path}/companions"

    def list(self, kind: str = "") -> list[dict[str, Any]]:
        """All of them, or those of a kind: [{kind, name, visibility, size, sha256, facts, …}]."""
        return [row for row in self.hub._pages(self.path) if kind in ("", row["kind"])]

    def add(self, kind: str, name: str, data: bytes, *, public: bool = False) -> dict[str, Any]:
        """Keep these bytes, in place of an earlier one of that name."""
        params = {"kind": kind, "name": name, "visibility": "public" if public else "private"}
        headers = {"Content-Type": "application/octet-stream"}
        return self.hub.transport.json("POST", self.path, params=params, content=data, headers=headers)

    def read(self, kind: str, name: str) -> bytes:
        """The bytes of one."""
        with self.hub.transport.stream(self._one(kind, name), headers={"Accept": "*/*"}) as response:
            return response.read()

    def show(self, kind: str, name: str, visibility: str) -> dict[str, Any]:
        """Make one, or all files of a folder, public or private; needs the role admin."""
        return self.hub.transport.json("PATCH", self._one(kind, name), json={"visibility": visibility})

    def remove(self, kind: str, name: str) -> None:
        """Remove one, or all files of a folder."""
        self.hub.transport.json("DELETE", self._one(kind, name))

    def only(self, kind: str, name: str | None) -> str:
        """`name`, or the only name there is of this kind; a folder counts as one."""
        if name:
            return name
        names = sorted({row["name"].partition("/")[0] for row in self.list(kind)})
        if len(names) == 1:
            return names[0]
        if not names:
            raise NotFound(f"no {kind} are kept there, or none that you may see.")
        raise Refused(f"there are several {kind}: {', '.join(names)}; name one.")

    def _one(self, kind: str, name: str) -> str:
        return f"{self.path}/{quote(kind, safe='')}/{quote(name)}"
