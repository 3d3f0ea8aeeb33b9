"""One training loop for discriminator and distillation: a PEFT adapter, the next token's cross-entropy on answers.

AdamW without decay, linear to zero, gradients clipped to norm 1, no dropout. A batch is cut into passes of as many rows
as memory holds, weighed so that the gradient is that of the whole batch. Which rows stand in step t follows from the
seed and t, and the state (parameters, moments, best so far, notes) is kept every 30 s and whenever the run is stopped:
taken up again it ends with the same bytes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from composition.errors import CompositionError
from composition.progress import Progress, ignore
from composition.training.checkpoint import Notes
from composition.training.early_stop import EarlyStop
from composition.training.loop import Loop, adamw
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
        self.optimizer = adamw([(list(self.parameters.values()), plan.rate, 0.0)])
        self.early = EarlyStop(self.parameters, epoch=plan.epoch, steps=plan.steps, patience=plan.patience)
        self.device = next(iter(self.parameters.values())).device
        self.loss = AnswerLoss(model, [*train, *held], plan.pad)
        self.clock: Clock | None = None

    def finish(self) -> Record:
        notes = Loop(
            steps=self.plan.steps,
            step=self.step,
            parameters=self.parameters,
            buffers=self.early.buffers,
            optimizer=self.optimizer,
            schedule=lambda number: 1 - number / self.plan.steps,
            clip=CLIP,
            rate=self.plan.rate,
            state=self.state,
            key=self.key,
            begin=self._begin,
            measure=self._measured,
            point=self._point,
            tell=self._told,
            over=self.early.over,
            progress=self.progress,
            save_every=self.save_every,
            replicas=self.replicas,
        ).run()
        if self.held:
            self.early.restore()
        best = self.early.best(notes)
        return Record(
            steps=notes.step,
            stopped_early=notes.step < self.plan.steps,
            best_epoch=best["epoch"] if best else None,
            curve=notes.curve,
            held=notes.before["held"],
            rows_at_once=notes.before["rows_at_once"],
            tokens=notes.before["tokens"],
            seconds=notes.before["seconds"],
        )

    def step(self, number: int, notes: Notes) -> dict[str, float]:
        """One forward and backward pass; its loss. Rows at once are halved until a pass fits into memory."""
        self.clock = self.clock or Clock(notes.before["seconds"])
        rows = [self.train[place] for place in self.plan.order(number)]
        total = sum(sum(row.learnt) for row in rows)
        share = self.replicas.share(rows)
        own = self._fitting(notes, lambda: self._backward(share, total, notes.before["rows_at_once"]))
        notes.before["tokens"] += sum(len(row.ids) for row in rows)
        return {"loss": self._whole(own)}

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

    def _begin(self, notes: Notes) -> None:
        plan = self.plan
        notes.before = {"held": [], "rows_at_once": plan.rows_at_once, "seconds": 0.0, "tokens": 0}
        if self.held:
            notes.before["held"].append({"epoch": 0, "loss": self.measure(notes)})

    def _measured(self, notes: Notes, figures: dict[str, float]) -> dict[str, float]:
        if self.held and self.early.due(notes):
            self.early.note(notes, self.measure(notes))
        notes.before["seconds"] = self.clock.seconds
        return figures

    def _point(self, number: int, figures: dict[str, float]) -> dict[str, float] | None:
        made, steps = number + 1, self.plan.steps
        if made % max(1, steps // CURVE_POINTS) and made not in (1, steps):
            return None
        return {"step": made, "loss": round(figures["loss"], 5)}

    def _told(self, notes: Notes, figures: dict[str, float]) -> dict[str, Any]:
        told: dict[str, Any] = {"step": notes.step, "loss": round(figures["loss"], 5)}
        if notes.before["held"]:
            told["held_out_loss"] = notes.before["held"][-1]["loss"]
        return told


def out_of_memory(error: BaseException) -> bool:
    """CUDA's own error, or what the CPU's allocator says."""
    return isinstance(error, torch.OutOfMemoryError) or any(
        words in str(error).lower() for words in ("out of memory", "can't allocate memory", "not enough memory")
    )
