"""Extension for bases of one tokenizer: the teacher's likeliest tokens at every place of its answers.

The published loss is on the teacher's text alone. Where source and target share a vocabulary, its distributions say
more; the `TOP` likeliest of each are kept, renormalised.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from composition.errors import CompositionError
from composition.formats.safetensors_writer import replace_file, safetensors_header, tensor_bytes
from composition.progress import Progress
from composition.running.prompting import Prompting
from composition.running.reading import Reader
from transfer.parties import Parties
from transfer.stages import attached, digest, folder_digest

TOP = 32
AT_ONCE = 16


class SoftTargets:
    """ids and log p, [answer tokens of all rows, k], and where each row's begin."""

    def __init__(self, ids: Tensor, log_p: Tensor, begins: Sequence[int]) -> None:
        self.ids, self.log_p, self.begins = ids, log_p, list(begins)

    def of(self, row: int, answer: Sequence[int]) -> tuple[Tensor, Tensor]:
        """(ids [answer, k] int64, log p [answer, k]) of one row, cut to its answer's length."""
        begin = self.begins[row]
        part = slice(begin, begin + len(answer))
        return self.ids[part].long(), self.log_p[part]


def soft_targets(parties: Parties, rows: Sequence[dict[str, Any]], *, work: Path, progress: Progress) -> SoftTargets:
    """The teacher's distributions on its own answers. Error: `transfer.tokenizers_differ`."""
    path = work / "soft_targets.safetensors"
    texts = [[row["prompt"], row["completion"]] for row in rows]
    key = digest("soft", folder_digest(parties.source_adapter), parties.source_name, parties.target_name, texts, TOP)
    found = _read(path, key)
    if found:
        return found
    _, target = parties.target()
    vocabulary, template = target.get_vocab(), getattr(target, "chat_template", None)
    model, tokenizer = parties.source()
    if tokenizer.get_vocab() != vocabulary or getattr(tokenizer, "chat_template", None) != template:
        raise CompositionError(
            "transfer.tokenizers_differ",
            "Soft targets need one tokenizer on both bases, and these differ in vocabulary or chat template. Use "
            "soft_targets=0: the teacher's text works between any two bases.",
        )
    prompting = Prompting(tokenizer, getattr(model, "generation_config", None))
    ids, log_p, begins, total = [], [], [], 0
    with attached(model, parties.source_adapter, "The adapter", parties.source_name) as teacher, torch.inference_mode():
        for start in range(0, len(rows), AT_ONCE):
            piece = [prompting.row(row) for row in rows[start : start + AT_ONCE]]
            for answer, (likely, scores) in zip(piece, _likeliest(teacher, prompting, piece), strict=True):
                begins.append(total)
                total += len(answer.completion)
                ids.append(likely)
                log_p.append(scores)
            progress(start / len(rows), f"The teacher's distributions, {start} of {len(rows)}")
    made = {"ids": torch.cat(ids).to(torch.int32), "log_p": torch.cat(log_p), "begins": torch.tensor(begins)}
    _write(path, key, made)
    return SoftTargets(made["ids"], made["log_p"], begins)


def _likeliest(teacher: Any, prompting: Prompting, rows: Sequence[Any]) -> list[tuple[Tensor, Tensor]]:
    reader = Reader(teacher, prompting)
    batch = reader.read(list(rows))
    width = max(len(row.completion) for row in rows)
    padded = torch.tensor([[*row.completion, *[reader.pad] * (width - len(row.completion))] for row in rows])
    logits = batch.logits.unsqueeze(1)
    if width > 1:
        mask = torch.cat([batch.mask, torch.ones(len(rows), width - 1, dtype=batch.mask.dtype)], dim=1)
        later, _ = reader.forward(padded[:, :-1], mask, batch.cache, width - 1)
        logits = torch.cat([logits, later], dim=1)  # [rows, width, vocabulary]; what follows an answer is not read
    top, ids = logits.log_softmax(-1).topk(min(TOP, logits.shape[-1]), dim=-1)
    return [
        (ids[n, : len(row.completion)].cpu(), top[n, : len(row.completion)].float().cpu()) for n, row in enumerate(rows)
    ]


def _write(path: Path, key: str, tensors: dict[str, Tensor]) -> None:
    shapes = {"log_p": (torch.float32, tuple(tensors["log_p"].shape))}
    header = safetensors_header(
        shapes,
        {"key": key, "ids": json.dumps(tensors["ids"].tolist()), "begins": json.dumps(tensors["begins"].tolist())},
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, iter([header, tensor_bytes(tensors["log_p"], torch.float32, "log_p")]))


def _read(path: Path, key: str) -> SoftTargets | None:
    try:
        with safe_open(path, framework="pt") as source:
            known = source.metadata()
            if known["key"] != key:
                return None
            ids = torch.tensor(json.loads(known["ids"]), dtype=torch.int32)
            return SoftTargets(ids, source.get_tensor("log_p"), json.loads(known["begins"]))
    except (SafetensorError, OSError, KeyError, ValueError, TypeError):
        return None
