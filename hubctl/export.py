"""`export_merged` and `check_merged`: an adapter and its base as one model; see `hubctl.merged_model`."""

import importlib.util
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
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
    form: str | None = None,
    dtype: str | None = None,
    moved: Moved = lambda what, done, total: None,
) -> dict[str, Any]:
    """Base + adapter as one model folder; returns {"adapter", "folder", "files", "bytes", "changed", "notes"}.

    `name` is `ns/name[@ref]`, or the path of an adapter's folder that begins with `.`, `/` or `~`. With `form` "gguf"
    the base is a GGUF file and so is the result, "file" in place of "folder" and "files"; `dtype` "f16" or "f32" is
    that of its changed tensors. Refuses what can't be merged exactly, with the reason.
    """
    base = Path(base_folder).expanduser()
    if dtype and form != "gguf":
        raise Refused(f"--dtype {dtype} is for --as gguf: a merged folder keeps the base's types. Leave it out.")
    with fetched(hub, name, moved, needs=("torch", "gguf") if form else ("torch",)) as (folder, called), refusals():
        short = folder.resolve().name if name.startswith(PLACES) else name.partition("@")[0].rpartition("/")[2]
        if form == "gguf":
            from hubctl.merged_model.into_gguf import export_gguf

            target = Path(out or f"{short}-merged.gguf").expanduser()
            return {"adapter": called, **export_gguf(base, folder, target, dtype=dtype, moved=moved)}
        from hubctl.merged_model.write import export_merged as write

        target = Path(out or f"{short}-merged").expanduser()
        return {"adapter": called, **write(base, folder, target, name=called, moved=moved)}


def check_merged(
    hub: "Hub",
    name: str,
    base_folder: str | Path,
    merged_folder: str | Path,
    *,
    moved: Moved = lambda what, done, total: None,
) -> dict[str, Any]:
    """Whether `merged_folder` is base + adapter: {"adapter", "answer", counts, "tensors"}; any tool may have merged."""
    with fetched(hub, name, moved) as (folder, called), refusals():
        from hubctl.merged_model.check import check_merged as check

        given = Path(base_folder).expanduser(), folder, Path(merged_folder).expanduser()
        return {"adapter": called, **check(*given, moved=moved)}


@contextmanager
def fetched(hub: "Hub", name: str, moved: Moved, needs: Sequence[str] = ("torch",)) -> Iterator[tuple[Path, str]]:
    """(the adapter's folder, what it is called), fetched for the time being unless it lies here."""
    for package in needs:
        if importlib.util.find_spec(package) is None:
            raise Refused(f"a merge needs {package}, which is not installed: pip install {package}")
    if name.startswith(PLACES):
        yield Path(name).expanduser(), name
        return
    with tempfile.TemporaryDirectory(prefix="hubctl-") as folder:
        manifest = pull(hub, name, folder, moved=moved)
        yield Path(folder), f"{name.partition('@')[0]}@{manifest.get('version') or manifest['revision'][:10]}"


@contextmanager
def refusals() -> Iterator[None]:
    """What `merged_model` refuses, as the client's own refusal."""
    from hubctl.merged_model.refusal import ExportRefused

    try:
        yield
    except ExportRefused as refusal:
        raise Refused(refusal.message, code=refusal.code) from None
