"""The one training loop: updates, figures, checkpoints, resume, early stop, several processes.

Who trains passes in `step`, one update's forward and backward pass, and `measure`, what is looked at after it. A run's
state is kept every `save_every` seconds, at its end and whenever it is stopped. Steps follow from seed and number
alone, so that a run that is killed and taken up again ends with the same bytes.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from composition.errors import CompositionError
from composition.progress import Progress, ignore
from composition.training.checkpoint import Notes, read_state, write_state
from composition.training.parallel import ALONE, Replicas

Figures = dict[str, Any]


def never(notes: Notes) -> bool:
    """The default for `over`: all steps are made."""
    return False


def same(notes: Notes, figures: Figures) -> Figures:
    """The default for `measure` and `tell`: a step's own figures."""
    return figures


@dataclass(slots=True, kw_only=True)
class Loop:
    """One training of `parameters`, from its start or its last checkpoint to its end.

    `step(number, notes)` makes gradients and returns the step's figures, `loss` among them; the loop updates. Each
    parameter group's rate is its `peak` times `schedule(number)`; `rate` is the one that the user chose, named when the
    loss diverges. `begin` notes what is known before the first step. `measure` and `tell` turn a step's figures into
    those that are kept and told; `point(number, figures)` is what the curve gets of a step, None for nothing. `over`
    ends a run early. `buffers` are tensors that are kept with the state.
    """

    steps: int
    step: Callable[[int, Notes], Figures]
    parameters: Mapping[str, Tensor]
    optimizer: torch.optim.Optimizer
    schedule: Callable[[int], float]
    clip: float
    rate: float
    state: Path
    key: str
    begin: Callable[[Notes], None]
    point: Callable[[int, Figures], Figures | None]
    buffers: Mapping[str, Tensor] = field(default_factory=dict)
    measure: Callable[[Notes, Figures], Figures] = same
    tell: Callable[[Notes, Figures], Figures] = same
    after_update: Callable[[], None] = lambda: None
    over: Callable[[Notes], bool] = never
    progress: Progress = ignore
    save_every: float = 30.0
    replicas: Replicas = ALONE

    def run(self) -> Notes:
        """Train to the end. Errors: `train.diverged`, and whatever `progress` raises to stop it."""
        notes = self._begun()
        saved = time.monotonic()
        while notes.step < self.steps and not self.over(notes):
            number = notes.step
            figures = self._update(number, notes)
            notes.step = number + 1
            figures = self.measure(notes, figures)
            if (point := self.point(number, figures)) is not None:
                notes.curve.append(point)
            if time.monotonic() - saved >= self.save_every:
                self._keep(notes)
                saved = time.monotonic()
            try:
                said = f"Step {notes.step} of {self.steps}"
                self.progress(notes.step / self.steps, said, **self.tell(notes, figures))
            except BaseException:
                self._keep(notes)  # Whoever stops a run may take it up again.
                raise
        self._keep(notes)
        return notes

    def _begun(self) -> Notes:
        notes = read_state(self.state, self.key, self.parameters, self.buffers, self.optimizer)
        if notes is None:
            notes = Notes()
            self.begin(notes)
        else:
            self.progress(notes.step / self.steps, f"Taken up again at step {notes.step}", step=notes.step)
        return notes

    def _update(self, number: int, notes: Notes) -> Figures:
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak"] * self.schedule(number)
        self.optimizer.zero_grad(set_to_none=True)
        figures = self.step(number, notes)
        refuse_diverged(figures["loss"], number, self.steps, self.rate)
        self.replicas.add_gradients(self.parameters.values())
        nn.utils.clip_grad_norm_(list(self.parameters.values()), self.clip)
        self.optimizer.step()
        self.after_update()
        return figures

    def _keep(self, notes: Notes) -> None:
        if self.replicas.first:
            write_state(self.state, self.key, notes, self.parameters, self.buffers, self.optimizer)


def adamw(groups: Sequence[tuple[Sequence[Tensor], float, float]]) -> torch.optim.AdamW:
    """AdamW over (parameters, peak rate, weight decay) groups; the loop sets the rates. Empty groups are left out."""
    rows = [{"params": list(chosen), "peak": peak, "weight_decay": decay} for chosen, peak, decay in groups if chosen]
    return torch.optim.AdamW(rows)


def refuse_diverged(loss: float, number: int, steps: int, rate: float) -> None:
    """Refuse a loss that is no number any more. Errors: `train.diverged`."""
    if not math.isfinite(loss):
        raise CompositionError(
            "train.diverged",
            f"The loss became {loss} at step {number + 1} of {steps}. Lower the learning rate, which is {rate:g}.",
            step=number,
        )
