"""Writes a plan into a folder: shard by shard beside the final name, renamed when all is there.

A cut export leaves `NAME.part` and no NAME; the next one of the same base and adapter takes up its finished shards.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .adapter import CONFIG as ADAPTER_CONFIG
from .adapter import WEIGHTS as ADAPTER_WEIGHTS
from .adapter import read_adapter_folder
from .base_folder import CONFIG, INDEX, read_base
from .plan import Plan, Target, make_plan
from .refusal import ExportRefused
from .stored import Stored, header_bytes

BLOCK = 4 * 1024 * 1024
KEY = ".export.json"
# Files of the adapter that replace the base's: a tokenizer that it was trained with.
OF_THE_ADAPTER = ("tokenizer", "special_tokens_map", "added_tokens", "vocab", "merges", "chat_template", "spiece")
Moved = Callable[[str, int, int], None]


def export_merged(
    base_folder: Path,
    adapter_folder: Path,
    out: Path,
    *,
    name: str = "",
    moved: Moved = lambda what, done, total: None,
) -> dict[str, Any]:
    """Write base + adapter to the new folder `out`; returns {"folder", "files", "bytes", "changed", "notes"}.

    `name` is the adapter's in the written README. Memory stays at about one tensor with its ΔW. Raises ExportRefused
    for a base or an adapter that can't be merged, and `folder` where `out` is not free.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ExportRefused("folder", f"{out} is there already. Give a new folder with --to.")
    if base_folder.resolve() in (out.resolve(), *out.resolve().parents):
        raise ExportRefused("folder", f"{out} lies in the base's own folder. Give another one with --to.")
    plan = make_plan(read_base(base_folder), read_adapter_folder(adapter_folder))
    part = _begin(plan, out)
    done, tell = 0, lambda now: moved("merge", now, plan.total)
    for shard, targets in plan.shards.items():
        if not (part / shard).is_file():
            _write_shard(
                part / shard, targets, plan.base.metadata[shard], lambda n: moved("merge", n, plan.total), done
            )
        done += sum(target.size for target in targets)
        tell(done)
    _write_rest(plan, part, name)
    (part / KEY).unlink()
    if out.is_dir():
        out.rmdir()
    os.replace(part, out)
    files = sorted(path.name for path in out.iterdir())
    return {"folder": str(out), "files": files, "bytes": plan.total, "changed": plan.changed, "notes": plan.notes}


def _begin(plan: Plan, out: Path) -> Path:
    """The folder beside `out` that is written to; what another export left in it is removed."""
    part = out.with_name(out.name + ".part")
    key = _key(plan)
    if part.exists() and ((part / KEY).read_text() if (part / KEY).is_file() else "") != key:
        shutil.rmtree(part)
    part.mkdir(parents=True, exist_ok=True)
    (part / KEY).write_text(key)
    return part


def _key(plan: Plan) -> str:
    """What the shards are made of: the adapter's digests, the base's files by size and time."""
    digests = []
    for name in (ADAPTER_CONFIG, ADAPTER_WEIGHTS):
        with (plan.adapter.folder / name).open("rb") as file:
            digests.append(hashlib.file_digest(file, "sha256").hexdigest())
    stats = [(shard, (plan.base.folder / shard).stat()) for shard in sorted(plan.base.shards)]
    base = [[shard, stat.st_size, stat.st_mtime_ns] for shard, stat in stats]
    return json.dumps({"adapter": digests, "folder": str(plan.base.folder.resolve()), "base": base})


def _write_shard(path: Path, targets: list[Target], metadata: dict[str, str], moved: Callable, done: int) -> None:
    from .arithmetic import merged

    unfinished = path.with_name(path.name + ".part")
    with unfinished.open("wb") as out:
        rows = [(target.name, target.dtype, target.source.shape, target.size) for target in targets]
        out.write(header_bytes(rows, metadata))
        for target in targets:
            if target.copied:
                _copy(target.source, out)
            else:
                out.write(merged(target))
            done += target.size
            moved(done)
        out.flush()
        os.fsync(out.fileno())
    os.replace(unfinished, path)


def _copy(stored: Stored, out: Any) -> None:
    left = stored.size
    with stored.file.open("rb") as file:
        file.seek(stored.begin)
        while left:
            block = file.read(min(BLOCK, left))
            if not block:
                raise ExportRefused("weights", f"{stored.file} ends before {stored.name} does. Fetch it again.")
            out.write(block)
            left -= len(block)


def _write_rest(plan: Plan, part: Path, name: str) -> None:
    """Config, index, what goes along unchanged, and a card that says what this is."""
    _write_json(part / CONFIG, plan.config)
    if plan.base.index is not None:
        placed = {target.name: shard for shard, targets in plan.shards.items() for target in targets}
        metadata = {**(plan.base.index.get("metadata") or {}), "total_size": plan.total}
        if isinstance(metadata.get("total_parameters"), int):
            metadata["total_parameters"] += plan.more_numbers
        _write_json(part / INDEX, {"metadata": metadata, "weight_map": dict(sorted(placed.items()))})
    for path in plan.base.others:
        shutil.copyfile(path, part / path.name)
    for path in sorted(plan.adapter.folder.iterdir()):
        if path.is_file() and path.name.startswith(OF_THE_ADAPTER):
            shutil.copyfile(path, part / path.name)
    base = plan.adapter.config.get("base_model_name_or_path") or plan.base.folder.name
    lines = [f"# {name or plan.adapter.folder.name}, merged", "", f"The base `{base}` with the LoRA "]
    lines[-1] += f"`{name or plan.adapter.folder.name}` added to its weights ({plan.changed} tensors changed). "
    lines[-1] += "It loads as the base does, without peft."
    (part / "README.md").write_text("\n".join([*lines, *(f"\n{note}" for note in plan.notes)]) + "\n", encoding="utf-8")


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
