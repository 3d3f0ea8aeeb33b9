"""A LoRA out of a fine-tuned model and its base: the best low-rank part of what each weight has learned.

    ΔW = W_tuned − W_base ≈ B A,   B = U S^½, A = S^½ Vᵀ of its leading singular triplets

Both models are folders of safetensors, read by blocks of rows: neither is held, nor a whole ΔW (`low_rank`). Extracted
is every matrix that both have in one shape and that differs, but for vocabulary tables and heads. What a LoRA of these
can't carry (norms, biases, tables, tensors of one side) is named if it differs. The rank is fixed, or the least that
keeps a share of ‖ΔW‖² in each module. mergekit-extract-lora gives the same by a dense SVD.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .arithmetic import DTYPES
from .base_folder import BaseFolder, read_base
from .lora_folder import write_lora
from .low_rank import Leading, leading
from .names import HEADS, TABLES, last
from .plan import CONV1D, CONV1D_NAMES, WITH_HEAD
from .refusal import ExportRefused
from .stored import FLOATS, Stored

BLOCK = 4 * 1024 * 1024
"""Bytes of a weight in float32 that are read at once."""
GAIN = 1e-8
"""The iteration stops when a sweep adds less than this share to what is kept of ‖ΔW‖²."""
Moved = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Pair:
    """A matrix of both models; `transposed` where they store [in, out]."""

    module: str
    base: Stored
    tuned: Stored
    transposed: bool


def extract_lora(
    base_folder: Path,
    tuned_folder: Path,
    out: Path,
    *,
    rank: int = 16,
    energy: float | None = None,
    modules: Sequence[str] = (),
    dtype: str = "F32",
    base_name: str = "",
    moved: Moved = lambda what, done, total: None,
) -> dict[str, Any]:
    """Write the LoRA to the new folder `out`; returns {"folder", "bytes", "rank", "modules", "error", "notes"}.

    `modules` of the result gives each module's rank, ‖ΔW‖ and error ‖ΔW − BA‖ / ‖ΔW‖; `error` is that of all of them.
    With `energy` (0 to 1) a module takes the least rank, up to `rank`, that keeps this share of its ‖ΔW‖². `modules`
    limits to names or their endings (q_proj). Memory: a block of rows and the vectors. Raises ExportRefused `folder`,
    `rank`, `not_in_base`, `same`, and what reading a base raises.
    """
    _check(out, rank, energy, dtype)
    base, tuned = read_base(base_folder), read_base(tuned_folder)
    pairs, others = _pairs(base, tuned, modules)
    total, done = sum(pair.tuned.size for pair in pairs), 0
    found: dict[str, tuple[Tensor, Tensor]] = {}
    rows: dict[str, dict[str, Any]] = {}
    for pair in pairs:
        moved("extract", done, total)
        made = _extract(pair, rank, energy)
        done += pair.tuned.size
        if made is not None:
            A, B, rows[pair.module] = made
            found[pair.module] = A.to(DTYPES[dtype]), B.to(DTYPES[dtype])
    moved("extract", total, total)
    if not found:
        raise ExportRefused(
            "same",
            f"No matrix of {tuned_folder} differs from {base_folder}'s, so there is nothing to extract. Give the "
            "folder of a model that was fine-tuned from this base.",
        )
    task = "CAUSAL_LM" if str((base.config.get("architectures") or [""])[0]).endswith(WITH_HEAD) else None
    conv1d = any(pair.transposed for pair in pairs)
    size = write_lora(out, found, base_name=base_name, task=task, conv1d=conv1d)
    whole = math.sqrt(sum(row["norm"] ** 2 for row in rows.values()))
    lost = math.sqrt(sum((row["norm"] * row["error"]) ** 2 for row in rows.values()))
    return {
        "folder": str(out),
        "bytes": size,
        "rank": max(row["rank"] for row in rows.values()),
        "modules": rows,
        "error": lost / whole,
        "notes": _notes(others, base, tuned),
    }


def _check(out: Path, rank: int, energy: float | None, dtype: str) -> None:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ExportRefused("folder", f"{out} is there already. Give a new folder with --to.")
    if rank < 1:
        raise ExportRefused("rank", f"The rank is {rank}; expected 1 or more.")
    if energy is not None and not 0 < energy <= 1:
        raise ExportRefused("rank", f"The energy share is {energy}; expected more than 0, at most 1.")
    if dtype not in FLOATS:
        raise ExportRefused("dtype", f"The dtype is {dtype}; expected one of {', '.join(FLOATS)}.")


def _pairs(base: BaseFolder, tuned: BaseFolder, modules: Sequence[str]) -> tuple[list[Pair], list[str]]:
    """(the matrices to extract, the names of all other tensors of either model)."""
    ours, theirs = base.tensors, tuned.tensors
    conv1d = str(base.config.get("model_type")) in CONV1D
    pairs, others = [], []
    for name, tensor in sorted(theirs.items()):
        module, own = name.removesuffix(".weight"), ours.get(name)
        wanted = not modules or any(module == m or module.endswith(f".{m}") for m in modules)
        matrix = name.endswith(".weight") and len(tensor.shape) == 2 and last(module) not in (*TABLES, *HEADS)
        if own and matrix and wanted and own.shape == tensor.shape and {own.dtype, tensor.dtype} <= {*FLOATS}:
            pairs.append(Pair(module, own, tensor, conv1d and last(module) in CONV1D_NAMES))
        else:
            others.append(name)
    if not pairs:
        asked = f" among {', '.join(modules)}" if modules else ""
        raise ExportRefused(
            "not_in_base",
            f"{tuned.folder} and {base.folder} have no matrix of one name and shape{asked}. Give a base and a model "
            "that was fine-tuned from it" + (", and endings of its modules' names." if modules else "."),
        )
    return pairs, others + sorted(ours.keys() - theirs.keys())


def _extract(pair: Pair, rank: int, energy: float | None) -> tuple[Tensor, Tensor, dict[str, Any]] | None:
    """(A [r, in], B [out, r] float64, the module's figures); None where nothing differs."""
    height, width = pair.tuned.shape

    def difference() -> Iterator[tuple[slice, Tensor]]:
        step = max(1, BLOCK // (4 * width))
        for begin in range(0, height, step):
            end = min(begin + step, height)
            yield slice(begin, end), _rows(pair.tuned, begin, end) - _rows(pair.base, begin, end)

    try:
        found = leading(difference, height, width, min(rank, height, width), gain=GAIN)
    except FloatingPointError:
        words = f"{pair.module}: the difference of the models holds NaN or infinite values. Save or fetch them again."
        raise ExportRefused("weights", words) from None
    if found.square == 0:
        return None
    kept = len(found.S) if energy is None else found.cut(energy)
    root = found.S[:kept].sqrt()
    left, right = found.U[:, :kept] * root, (found.V[:, :kept] * root).mT
    A, B = (left.mT, right.mT) if pair.transposed else (right, left)
    figures = {"rank": kept, "norm": math.sqrt(found.square), "error": _error(found, kept)}
    return A.contiguous(), B.contiguous(), figures


def _error(found: Leading, kept: int) -> float:
    """‖ΔW − BA‖ / ‖ΔW‖."""
    return math.sqrt(max(0.0, 1 - float(found.S[:kept].square().sum()) / found.square))


def _rows(stored: Stored, begin: int, end: int) -> Tensor:
    """Some rows in float32, or in float64 where they are stored so."""
    data = stored.data(begin, end)
    rows = torch.frombuffer(data, dtype=DTYPES[stored.dtype]).view(end - begin, stored.shape[1])
    return rows if stored.dtype == "F64" else rows.float()


def _notes(others: Sequence[str], base: BaseFolder, tuned: BaseFolder) -> list[str]:
    """What differs and is not in the result."""
    ours, theirs = base.tensors, tuned.tensors
    lost = [name for name in others if name not in ours or name not in theirs or _differ(ours[name], theirs[name])]
    if not lost:
        return []
    more = f" and {len(lost) - 3} more" if len(lost) > 3 else ""
    return [
        f"Not in the LoRA, though the models differ in them: {', '.join(lost[:3])}{more}. Vocabulary tables, heads, "
        "norms and biases are left out, and modules that weren't asked for."
    ]


def _differ(one: Stored, other: Stored) -> bool:
    if (one.dtype, one.shape) != (other.dtype, other.shape):
        return True
    rows = one.shape[0] if one.shape else 1
    step = max(1, BLOCK // max(1, one.size // max(1, rows)))
    return any(
        one.data(begin, min(begin + step, rows)) != other.data(begin, min(begin + step, rows))
        for begin in range(0, rows, step)
    )
