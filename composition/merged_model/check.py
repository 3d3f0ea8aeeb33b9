"""Whether a merged folder holds an adapter: each tensor against what the merge of the same base and adapter gives.

Any tool's folder may be asked about. A tensor is `same` (the bits), `rounded` (within two steps of its dtype, or within
1 % of ΔW, as a merge on a GPU or in 16 bits leaves it), `base` (the adapter was not added), or `other`, with the factor
k that fits best: W = base + k · ΔW.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .adapter import read_adapter_folder
from .arithmetic import DTYPES, merged
from .base_folder import read_base
from .plan import Target, make_plan
from .stored import Stored
from .write import Moved

STEPS = 2.0
SHARE = 0.01


def check_merged(
    base_folder: Path, adapter_folder: Path, merged_folder: Path, *, moved: Moved = lambda what, done, total: None
) -> dict[str, Any]:
    """{"answer", "same", "rounded", "base", "other", "missing", "untouched", "tensors"}.

    `answer` is "merged" (nothing but `same` and `rounded`), "not merged" (all changed tensors are the base's) or
    "wrong". The counts are of the tensors that the adapter changes; `untouched` counts others that yet differ from the
    base; `tensors` names up to ten that are wrong, with their factor. Raises ExportRefused as `export_merged` does.
    """
    plan = make_plan(read_base(base_folder), read_adapter_folder(adapter_folder))
    found, start = read_base(merged_folder).tensors, plan.base.tensors
    counts = dict.fromkeys(("same", "rounded", "base", "other", "missing", "untouched"), 0)
    wrong, done = [], 0
    for shard, targets in plan.shards.items():
        for target in targets:
            kept = target.copied and target.source.file == plan.base.folder / shard
            verdict, factor = _verdict(target, found.get(target.name), start.get(target.name), kept)
            if verdict != "kept":
                counts[verdict] += 1
            if verdict in ("base", "other", "missing", "untouched"):
                wrong.append({"tensor": target.name, "is": verdict, "factor": factor})
            done += target.size
            moved("check", done, plan.total)
    changed = sum(counts[name] for name in ("same", "rounded", "base", "other", "missing"))
    answer = "wrong" if wrong else "merged"
    if changed and counts["base"] == changed and not counts["untouched"]:
        answer = "not merged"
    return {"answer": answer, **counts, "tensors": wrong[:10]}


def _verdict(target: Target, there: Stored | None, base: Stored | None, kept: bool) -> tuple[str, float | None]:
    """(what the tensor is, the factor); "kept" is one that the adapter leaves alone, and so does the folder."""
    if there is None:
        return "missing", None
    if there.shape != target.source.shape or there.dtype not in DTYPES or target.dtype not in DTYPES:
        same = there.shape == target.source.shape and there.data() == target.source.data()
        return ("kept" if same else "untouched") if kept else "other", None
    data, wanted = there.data(), target.source.data() if target.copied else merged(target)
    if data == wanted and there.dtype == target.dtype:
        return ("kept" if kept else "same"), None
    weight, goal = _values(data, there.dtype), _values(wanted, target.dtype)
    start = goal if kept or base is None or base.shape != there.shape else _values(base.data(), base.dtype)
    step = torch.finfo(DTYPES[there.dtype]).eps * torch.maximum(goal.abs(), start.abs())
    delta, off = goal - start, weight - goal
    if (off.abs() <= STEPS * step).all() or off.norm() <= SHARE * delta.norm():
        # A ΔW below the steps says nothing: such a tensor is the base's as much as the merge's.
        return ("kept" if kept else "base" if torch.equal(weight, start) else "rounded"), None
    if kept:
        return "untouched", None
    factor = float(delta @ (weight - start) / (delta @ delta).clamp_min(1e-300))
    return ("base" if torch.equal(weight, start) else "other"), round(factor, 4)


def _values(data: bytearray, dtype: str) -> Tensor:
    """All numbers in a row, in double precision."""
    return torch.frombuffer(data, dtype=DTYPES[dtype]).double()
