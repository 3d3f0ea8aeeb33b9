"""The part of the client that is about base models."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from hubctl.people import Asks
from hubctl.requests import storable
from hubctl.transport import ask_again

# How long a worker that has just started may take to say what it holds.
SECONDS_TO_LOOK = 60.0


class Bases:
    """Calls about base models."""

    def bases(self: Asks) -> list[dict[str, Any]]:
        """All base models the hub knows."""
        return list(self._pages("/bases"))

    def base(self: Asks, name: str) -> dict[str, Any]:
        """A base by its name or an alias."""
        return self._get(f"/bases/{quote(name)}")

    def held_bases(self: Asks) -> list[dict[str, Any]]:
        """The models that workers hold and nobody has registered: name, revision, where, source, config."""
        return self._get("/workers/bases")

    def add_base(self: Asks, name: str, config: Mapping[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
        """Register a base by its config.json, or without one as a worker holds it; returns {"base", "job": id of the
        one that reads its shapes, or None}.

        Fields: revision, derived_from, relation, aliases, license, source.
        """
        given = {key: value for key, value in fields.items() if value not in (None, "", [], {}, ())}
        body = {"name": name, "config": config and storable(config), **given}
        return ask_again("base.looking", lambda: self._post("/bases", body), seconds=SECONDS_TO_LOOK)

    def change_base(self: Asks, name: str, **changes: Any) -> dict[str, Any]:
        """Change a base, `org/name` or `org/name@revision`: owner, add_aliases, drop_aliases."""
        return self.transport.json("PATCH", f"/bases/{quote(name)}", json=changes)

    def push_base(self: Asks, folder: str | Path, name: str, **options: Any) -> dict[str, Any]:
        """Push a base's own files; see `hubctl.importing.base_files`. Returns {"base", "commit", "files", "size"}."""
        from hubctl.importing.base_files import push_base

        return push_base(self, folder, name, **options)

    def delete_base(self: Asks, name: str) -> None:
        """Delete a base (`org/name` or `org/name@revision`) that nothing uses."""
        self._delete(f"/bases/{quote(name)}")
