"""LoRAHub (Huang et al., COLM 2024, arXiv:2307.13269): coefficients of adapters for a new task, without gradients.

Minimises the loss of a few examples' answers plus `penalty` times the mean |c_i|, over one coefficient an adapter
within ± `bound`, from zero on: the paper's objective, 40 evaluations. Two deviations: the paper composes factors,
(Σ c_i B_i)(Σ c_i A_i), which depends on how each ΔW is written and has cross terms; here the update is Σ c_i ΔW_i
itself. And the search is CMA-ES (`evolution`), where the paper takes an ensemble of nevergrad's.

Each evaluation's loss is noted in the work folder, so that a killed search goes on behind the last one.
"""

import hashlib
import json
import math
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from composition.formats.safetensors_writer import replace_file
from composition.merging.calibrated.evolution import minimise
from composition.merging.calibrated.examples import Examples
from composition.merging.calibrated.mixture import Mixture
from composition.merging.calibrated.texts import Row
from composition.merging.calibrated.trained import answers_loss
from composition.merging.diagnostics import MergeResult
from composition.progress import Progress, ignore, share_of
from composition.recipes.merge.learned import LoraHubRecipe
from composition.weights import LoraWeights

FILE = "losses.json"
SEARCHING = 0.97
"""The share of the work, for progress, that is searching."""


def lorahub(
    adapters: Sequence[LoraWeights],
    recipe: LoraHubRecipe,
    *,
    model: Any,
    tokenizer: Any,
    data: Sequence[Sequence[Row]],
    work: Path | None = None,
    progress: Progress = ignore,
) -> MergeResult:
    """The mixture whose coefficients do best on the rows of `data`; `work` is a folder that a killed job finds again.

    Raises CompositionError where adapters or data don't fit the recipe (`merge.no_data`, `merge.empty_data`,
    `merge.no_answers`, `merge.not_linear`).
    """
    names = [adapter.name or f"adapter {i}" for i, adapter in enumerate(adapters, 1)]
    recipe.check([(name, adapter.facts()) for name, adapter in zip(names, adapters, strict=True)])
    recipe.check_data(names, {f"dataset {i}": len(rows) for i, rows in enumerate(data, 1)})
    examples = Examples(tokenizer, model, data, recipe, answers=True)
    mixture = Mixture(adapters, recipe.begin(len(adapters)))
    with tempfile.TemporaryDirectory() as folder, mixture.on(model):
        search = _Search(model, mixture, examples, recipe, work or Path(folder), progress)
        best, loss = minimise(
            search.loss,
            recipe.begin(len(adapters)),
            evaluations=recipe.evaluations,
            bound=recipe.bound,
            seed=recipe.seed,
        )
    mixture.coefficients[:] = torch.from_numpy(best)
    curve = [{"step": step, "loss": value} for step, value in enumerate(search.losses)]
    told = {"read": examples.facts(), "training": {"steps": len(curve), "curve": curve, "loss": loss}}
    return mixture.merged(recipe, told, share_of(progress, SEARCHING, 1 - SEARCHING))


class _Search:
    """The objective, evaluation by evaluation, with those that an earlier attempt has made."""

    def __init__(
        self, model: Any, mixture: Mixture, examples: Examples, recipe: LoraHubRecipe, work: Path, progress: Progress
    ) -> None:
        self.model, self.mixture, self.recipe, self.progress = model, mixture, recipe, progress
        self.path = work / FILE
        asked = [recipe.to_dict(), examples.digest()]
        self.key = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()
        device = next(model.parameters()).device
        self.batches = [batch.to(device) for batch in examples.all()]
        self.losses: list[float] = []
        self.known = self._read()

    @torch.inference_mode()
    def loss(self, coefficients: np.ndarray) -> float:
        """Mean −log p of the answers' tokens, plus the penalty."""
        number = len(self.losses)
        if number < len(self.known):
            value = self.known[number]
        else:
            self.mixture.coefficients[:] = torch.from_numpy(coefficients)
            counts = [int(batch.learnt.sum()) for batch in self.batches]
            means = [float(answers_loss(self.model, batch)) for batch in self.batches]
            nll = sum(mean * count for mean, count in zip(means, counts, strict=True)) / sum(counts)
            value = nll + self.recipe.penalty * float(np.abs(coefficients).mean())
            value = value if math.isfinite(value) else 1e30
        self.losses.append(value)
        if number >= len(self.known):
            self._keep()
        said = f"Evaluation {number + 1} of {self.recipe.evaluations}"
        self.progress(SEARCHING * min(1.0, (number + 1) / self.recipe.evaluations), said, loss=value)
        return value

    def _keep(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(self.path, iter([json.dumps({"key": self.key, "losses": self.losses}).encode()]))

    def _read(self) -> list[float]:
        try:
            kept = json.loads(self.path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return []
        return kept["losses"] if kept.get("key") == self.key else []
