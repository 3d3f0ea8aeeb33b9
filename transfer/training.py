"""One training loop for discriminator and distillation: a PEFT adapter, the next token's cross-entropy on answers.

AdamW without decay, linear to zero, gradients clipped to norm 1, no dropout. A batch is cut into passes of as many rows
as memory holds, weighed so that the gradient is that of the whole batch. Which rows stand in step t follows from the
seed and t, and the state (parameters, moments, best so far, notes) is kept every 30 s and whenever the run is stopped:
taken up again it ends with the same bytes.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from composition.errors import CompositionError
from composition.progress import Progress, ignore
from composition.training.checkpoint import Notes, read_state, write_state
from composition.training.parallel import ALONE, Replicas
from transfer.loss import AnswerLoss, Example
from transfer.stages import Clock

CLIP = 1.0
CURVE_POINTS = 200
SECONDS_A_CHECKPOINT = 30.0


@dataclass(frozen=True, slots=True)
class Plan:
    """How long and how: `order(step)` names the rows of a batch, `epoch` is how many steps make one."""

    steps: int
    epoch: int
    rate: float
    order: Callable[[int], list[int]]
    rows_at_once: int
    halve: bool = True
    patience: int | None = None
    soft: float = 0.0
    pad: int = 0


@dataclass(frozen=True, slots=True)
class Record:
    """What a training came to."""

    steps: int
    stopped_early: bool
    best_epoch: int | None
    curve: list[dict[str, float]]
    held: list[dict[str, float]]
    rows_at_once: int
    tokens: int
    seconds: float


def fit(
    model: Any,
    train: Sequence[Example],
    held: Sequence[Example],
    plan: Plan,
    *,
    state: Path,
    key: str,
    progress: Progress = ignore,
    save_every: float = SECONDS_A_CHECKPOINT,
    replicas: Replicas = ALONE,
) -> Record:
    """Train what asks for a gradient, from the start or from the state of this `key`; the best epoch's values stay.

    Errors: `train.diverged`, `transfer.memory` where one row does not fit, and whatever `progress` raises to stop.
    """
    return _Run(model, train, held, plan, state, key, progress, save_every, replicas).finish()


class _Run:
    def __init__(
        self,
        model: Any,
        train: Sequence[Example],
        held: Sequence[Example],
        plan: Plan,
        state: Path,
        key: str,
        progress: Progress,
        save_every: float,
        replicas: Replicas = ALONE,
    ) -> None:
        self.replicas = replicas
        self.model, self.train, self.held, self.plan = model, train, held, plan
        self.state, self.key, self.progress, self.save_every = state, key, progress, save_every
        self.parameters = {n: p for n, p in sorted(model.named_parameters()) if p.requires_grad}
        for parameter in self.parameters.values():
            parameter.data = parameter.data.float()
        self.best = {f"best {n}": p.detach().clone() for n, p in self.parameters.items()}
        self.optimizer = torch.optim.AdamW(self.parameters.values(), lr=plan.rate, weight_decay=0.0)
        self.device = next(iter(self.parameters.values())).device
        self.loss = AnswerLoss(model, [*train, *held], plan.pad)
        self.tokens = 0

    def finish(self) -> Record:
        plan = self.plan
        notes = read_state(self.state, self.key, self.parameters, self.best, self.optimizer)
        if notes is None:
            notes = Notes(before={"held": [], "rows_at_once": plan.rows_at_once, "seconds": 0.0, "tokens": 0})
            if self.held:
                notes.before["held"].append({"epoch": 0, "loss": self.measure(notes)})
        elif notes.step:
            self.progress(notes.step / plan.steps, f"Taken up again at step {notes.step}", step=notes.step)
        clock, saved = Clock(notes.before["seconds"]), time.monotonic()
        while notes.step < plan.steps and not self._patience_ended(notes):
            loss = self.step(notes)
            notes.step += 1
            if notes.step % max(1, plan.steps // CURVE_POINTS) == 0 or notes.step in (1, plan.steps):
                notes.curve.append({"step": notes.step, "loss": round(loss, 5)})
            if self.held and (notes.step % plan.epoch == 0 or notes.step == plan.steps):
                self._close_epoch(notes)
            notes.before["seconds"] = clock.seconds
            if time.monotonic() - saved >= self.save_every:
                self._keep(notes)
                saved = time.monotonic()
            try:
                self._tell(notes, loss)
            except BaseException:
                self._keep(notes)  # Whoever stops a run may take it up again.
                raise
        if self.held:
            with torch.no_grad():
                for name, parameter in self.parameters.items():
                    parameter.copy_(self.best[f"best {name}"])
        best = self._best(notes)
        return Record(
            steps=notes.step,
            stopped_early=notes.step < plan.steps,
            best_epoch=best["epoch"] if best else None,
            curve=notes.curve,
            held=notes.before["held"],
            rows_at_once=notes.before["rows_at_once"],
            tokens=notes.before["tokens"],
            seconds=clock.seconds,
        )

    def step(self, notes: Notes) -> float:
        """One update; its loss. Rows at once are halved until a pass fits into memory."""
        rows = [self.train[number] for number in self.plan.order(notes.step)]
        for group in self.optimizer.param_groups:
            group["lr"] = self.plan.rate * (1 - notes.step / self.plan.steps)
        total = sum(sum(row.learnt) for row in rows)
        share = self.replicas.share(rows)
        own = self._fitting(notes, lambda: self._backward(share, total, notes.before["rows_at_once"]))
        value = self._whole(own)
        if not math.isfinite(value):
            raise CompositionError(
                "train.diverged",
                f"The loss became {value} at step {notes.step + 1} of {self.plan.steps}. Lower the learning rate, "
                f"which is {self.plan.rate:g}.",
                step=notes.step,
            )
        self.replicas.add_gradients(self.parameters.values())
        nn.utils.clip_grad_norm_(list(self.parameters.values()), CLIP)
        self.optimizer.step()
        notes.before["tokens"] += sum(len(row.ids) for row in rows)
        return value

    @torch.no_grad()
    def measure(self, notes: Notes) -> float:
        """Mean −log p of the held-out answers' learnt tokens, nats."""

        def read() -> float:
            size, total = notes.before["rows_at_once"], sum(sum(row.learnt) for row in self.held)
            share = self.replicas.share(self.held)
            pieces = [share[start : start + size] for start in range(0, len(share), size)]
            return sum(float(self.loss(piece, total, soft=0.0)) for piece in pieces)

        return round(self._whole(self._fitting(notes, read)), 6)

    def _whole(self, value: float) -> float:
        """A loss summed over the processes."""
        if self.replicas.size == 1:
            return value
        return float(self.replicas.add(torch.tensor(value, dtype=torch.float64, device=self.device)))

    def _backward(self, rows: Sequence[Example], total: int, at_once: int) -> float:
        """These rows' share of the gradient of a batch with so many learnt tokens; their share of the loss."""
        self.optimizer.zero_grad(set_to_none=True)
        value = 0.0
        for start in range(0, len(rows), at_once):
            loss = self.loss(rows[start : start + at_once], total, self.plan.soft)
            loss.backward()
            value += float(loss.detach())
        return value

    def _fitting(self, notes: Notes, run: Callable[[], float]) -> float:
        while True:
            try:
                return run()
            except (torch.OutOfMemoryError, RuntimeError) as error:
                if not out_of_memory(error):
                    raise
            rows = notes.before["rows_at_once"]
            if rows == 1 or not self.plan.halve:
                raise CompositionError(
                    "transfer.memory",
                    f"A training pass of {rows} row(s) does not fit into memory. Use gradient_checkpointing, a shorter "
                    "max_length, precision=bfloat16, or micro_batch=auto.",
                    rows=rows,
                )
            notes.before["rows_at_once"] = (rows + 1) // 2
            if torch.cuda.is_available():
                torch.cuda.empty_cache()

    def _close_epoch(self, notes: Notes) -> None:
        before = self._best(notes)
        loss = self.measure(notes)
        notes.before["held"].append({"epoch": math.ceil(notes.step / self.plan.epoch), "loss": loss})
        if before is None or loss < before["loss"]:
            with torch.no_grad():
                for name, parameter in self.parameters.items():
                    self.best[f"best {name}"].copy_(parameter)

    def _best(self, notes: Notes) -> dict[str, Any] | None:
        """The epoch of the lowest held-out loss, the first of equal ones."""
        return min(notes.before["held"], key=lambda epoch: epoch["loss"]) if notes.before["held"] else None

    def _patience_ended(self, notes: Notes) -> bool:
        best = self._best(notes)
        if best is None or self.plan.patience is None or notes.step % self.plan.epoch:
            return False
        return notes.before["held"][-1]["epoch"] - best["epoch"] >= self.plan.patience

    def _keep(self, notes: Notes) -> None:
        if notes.step and self.replicas.first:
            write_state(self.state, self.key, notes, self.parameters, self.best, self.optimizer)

    def _tell(self, notes: Notes, loss: float) -> None:
        figures: dict[str, Any] = {"step": notes.step, "loss": round(loss, 5)}
        if notes.before["held"]:
            figures["held_out_loss"] = notes.before["held"][-1]["loss"]
        self.progress(notes.step / self.plan.steps, f"Step {notes.step} of {self.plan.steps}", **figures)


def out_of_memory(error: BaseException) -> bool:
    """CUDA's own error, or what the CPU's allocator says."""
    return isinstance(error, torch.OutOfMemoryError) or any(
        words in str(error).lower() for words in ("out of memory", "can't allocate memory", "not enough memory")
    )
