"""Early stop: held-out rows are measured after each epoch, the best epoch is kept, and no gain ends the run."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from composition.training.checkpoint import Notes

HELD = "held"


class EarlyStop:
    """Of parameters that are measured every `epoch` steps and at the end; `patience` epochs may pass without a gain.

    The measurements are in `notes.before["held"]`: [{"epoch", "loss"}], from epoch 0, before the first step. `buffers`
    are the best epoch's values, to be kept with a run's state.
    """

    def __init__(self, parameters: Mapping[str, Tensor], *, epoch: int, steps: int, patience: int | None) -> None:
        self.parameters, self.epoch, self.steps, self.patience = parameters, epoch, steps, patience
        self.buffers = {f"best {name}": parameter.detach().clone() for name, parameter in parameters.items()}

    def due(self, notes: Notes) -> bool:
        """Whether an epoch ends with this step."""
        return notes.step % self.epoch == 0 or notes.step == self.steps

    def note(self, notes: Notes, loss: float) -> None:
        """Take down an epoch's held-out loss, and its values where it is the best so far."""
        before = self.best(notes)
        notes.before[HELD].append({"epoch": math.ceil(notes.step / self.epoch), "loss": loss})
        if before is not None and loss >= before["loss"]:
            return
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                self.buffers[f"best {name}"].copy_(parameter)

    def over(self, notes: Notes) -> bool:
        """Whether patience has ended: so many epochs since the best one."""
        best = self.best(notes)
        if best is None or self.patience is None or notes.step % self.epoch:
            return False
        return notes.before[HELD][-1]["epoch"] - best["epoch"] >= self.patience

    def restore(self) -> None:
        """Give the parameters the best epoch's values."""
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(self.buffers[f"best {name}"])

    @staticmethod
    def best(notes: Notes) -> dict[str, Any] | None:
        """The epoch of the lowest held-out loss, the first of equal ones; None where nothing is held out."""
        return min(notes.before[HELD], key=lambda epoch: epoch["loss"]) if notes.before[HELD] else None
