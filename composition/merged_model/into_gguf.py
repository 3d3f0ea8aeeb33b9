"""A GGUF base and a LoRA as one GGUF file: row by row, with the base's metadata and its untouched tensors as they are.

A tensor that the adapter changes is dequantised, ΔW is added in float32, and the sum is rounded once, to the type that
the base has it in, or to float16 where that is a quantised one. llama.cpp keeps some rows in an order of its own
(`gguf_names`); the rows of B, of DoRA's magnitude and of a bias follow.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from .adapter import read_adapter_folder
from .gguf_file import GgufTensor, read_gguf
from .gguf_names import ORDERS, row_order
from .gguf_plan import ELSE, GgufPlan, make_gguf_plan
from .refusal import ExportRefused
from .write import BLOCK, Moved


def export_gguf(
    base: Path,
    adapter_folder: Path,
    out: Path,
    *,
    dtype: str | None = None,
    moved: Moved = lambda what, done, total: None,
) -> dict[str, Any]:
    """Write base + adapter to the new file `out`; returns {"file", "bytes", "changed", "notes"}.

    `base` is a GGUF file, or a folder with one. `dtype` "f16" or "f32" is that of changed tensors; None: as the base
    has them, and float16 where it has them quantised. Raises ExportRefused for what can't be merged so, and `folder`
    where `out` is not free. An export that fails leaves no file.
    """
    if out.exists():
        raise ExportRefused("folder", f"{out} is there already. Give a new file with --to.")
    plan = make_gguf_plan(read_gguf(gguf_of(base)), read_adapter_folder(adapter_folder), dtype)
    out.parent.mkdir(parents=True, exist_ok=True)
    part = out.with_name(out.name + ".part")
    try:
        _write(plan, part, lambda done: moved("merge", done, plan.total))
        os.replace(part, out)
    finally:
        part.unlink(missing_ok=True)
    return {"file": str(out), "bytes": out.stat().st_size, "changed": len(plan.changes), "notes": plan.notes}


def gguf_of(base: Path) -> Path:
    """The file itself, or the only one of a folder. Raises ExportRefused `base`."""
    if base.is_file() and base.suffix == ".gguf":
        return base
    found = sorted(base.glob("*.gguf")) if base.is_dir() else []
    if len(found) == 1:
        return found[0]
    if found:
        raise ExportRefused("base", f"{base} holds {len(found)} GGUF files. Give one: --base-folder {found[0]}")
    raise ExportRefused(
        "base",
        f"--as gguf adds the adapter to a base that is a GGUF file, and {base} {'holds' if base.is_dir() else 'is'} "
        f"none. {ELSE}",
    )


def _write(plan: GgufPlan, path: Path, moved: Callable[[int], None]) -> None:
    from .gguf_rows import changed_rows

    done, order = 0, ORDERS[str(plan.base.values["general.architecture"])]
    with path.open("wb") as out:
        out.write(plan.base.head(plan.tensors, plan.file_type))
        for tensor in plan.tensors:
            change, stored = plan.changes.get(tensor.name), plan.base.tensors[tensor.name]
            if change is None:
                blocks = _copied(plan.base.path, stored)
            else:
                rows = row_order(order, tensor.shape[0], change.heads) if change.heads else None
                blocks = changed_rows(plan.base.path, stored, tensor.kind, change, rows)
            for block in blocks:
                out.write(block)
                done += len(block)
                moved(done)
            out.write(bytes(plan.base.padding(tensor.size)))
        out.flush()
        os.fsync(out.fileno())


def _copied(path: Path, stored: GgufTensor) -> Iterator[bytes]:
    with path.open("rb") as file:
        file.seek(stored.begin)
        left = stored.size
        while left:
            block = file.read(min(BLOCK, left))
            if not block:
                raise ExportRefused("gguf", f"{path} ends before {stored.name} does. Fetch it again.")
            yield block
            left -= len(block)
