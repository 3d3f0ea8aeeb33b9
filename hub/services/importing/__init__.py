"""Uploads in the formats of other tools, published as PEFT's form of them with the originals beside it."""

from hub.services.importing.changes import Imported, imported, without_stale_originals

__all__ = ["Imported", "imported", "without_stale_originals"]
