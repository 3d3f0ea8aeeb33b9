"""`export_merged`: fetch an adapter, then write it together with its base; see `hubctl.merged_model`."""

import importlib.util
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hubctl.download import Moved, pull
from hubctl.errors import Refused

if TYPE_CHECKING:
    from hubctl.client import Hub

PLACES = (".", "/", "~")


def export_merged(
    hub: "Hub",
    name: str,
    base_folder: str | Path,
    out: str | Path | None = None,
    *,
    moved: Moved = lambda what, done, total: None,
) -> dict[str, Any]:
    """Base + adapter as one model folder; returns {"adapter", "folder", "files", "bytes", "changed", "notes"}.

    `name` is `ns/name[@ref]`, or the path of an adapter's folder that begins with `.`, `/` or `~`. Refuses what can't
    be merged exactly, with the reason.
    """
    if importlib.util.find_spec("torch") is None:
        raise Refused('a merge computes with torch, which is not installed: pip install "adapter-hub[export]"')
    base = Path(base_folder).expanduser()
    if name.startswith(PLACES):
        folder = Path(name).expanduser()
        return _write(base, folder, Path(out or f"{folder.resolve().name}-merged"), name, moved)
    with tempfile.TemporaryDirectory(prefix="hubctl-") as fetched:
        manifest = pull(hub, name, fetched, moved=moved)
        called = f"{name.partition('@')[0]}@{manifest.get('version') or manifest['revision'][:10]}"
        target = Path(out or f"{name.partition('@')[0].rpartition('/')[2]}-merged")
        return _write(base, Path(fetched), target, called, moved)


def _write(base: Path, adapter: Path, out: Path, called: str, moved: Moved) -> dict[str, Any]:
    from hubctl.merged_model.refusal import ExportRefused
    from hubctl.merged_model.write import export_merged as write

    try:
        return {"adapter": called, **write(base, adapter, out.expanduser(), name=called, moved=moved)}
    except ExportRefused as refusal:
        raise Refused(refusal.message, code=refusal.code) from None
