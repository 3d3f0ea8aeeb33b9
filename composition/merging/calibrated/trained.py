"""Coefficients that gradients teach: LoRA Soups and AdaMerging.

LoRA Soups' learnt concatenation, CAT (Prabhakar et al., COLING 2025, arXiv:2410.13025): ΔW = Σ α_i ΔW_i with one α for
each adapter and layer, trained on a small mixed text by the language loss of the answers, everything else frozen.

AdaMerging (Yang et al., ICLR 2024, arXiv:2310.02575), equation 5: the same coefficients, by task or by layer, trained
on inputs without labels by the entropy of the predictions, H = −Σ p log p. A classifier's prediction is here the next
token where an answer would begin. It is blind to what is right: a mixture may become certain of a wrong answer.

Both begin at equal coefficients (1/n; AdaMerging's 0.3) and train in the one loop, so a killed run goes on.
"""

import hashlib
import json
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from composition.merging.calibrated.examples import Examples
from composition.merging.calibrated.mixture import Mixture
from composition.merging.calibrated.texts import Row
from composition.merging.diagnostics import MergeResult
from composition.moe.batches import Batch
from composition.moe.routing import forward
from composition.moe.train import language_loss, schedule
from composition.progress import Progress, ignore, share_of
from composition.recipes.merge.learned import AdaMergingRecipe, SoupsRecipe, TrainedRecipe
from composition.training.loop import Loop, adamw
from composition.weights import LoraWeights

CLIP = 1.0
CURVE_POINTS = 100
TRAINING = 0.97
"""The share of the work, for progress, that is training."""
Objective = Callable[[Any, Batch], Tensor]


def lora_soups(adapters: Sequence[LoraWeights], recipe: SoupsRecipe, **on: Any) -> MergeResult:
    """CAT: coefficients by the answers' loss. `on` is as for `train`; rows need answers, or are texts.

    Raises CompositionError where adapters or data don't fit the recipe (`merge.no_data`, `merge.empty_data`,
    `merge.no_answers`, `merge.not_linear`), and `train.diverged`.
    """
    return train(adapters, recipe, answers_loss, answers=True, **on)


def adamerging(adapters: Sequence[LoraWeights], recipe: AdaMergingRecipe, **on: Any) -> MergeResult:
    """Coefficients by the entropy of answers' first tokens. `on` is as for `train`; answers are not read."""
    return train(adapters, recipe, entropy, answers=False, **on)


def answers_loss(model: Any, batch: Batch) -> Tensor:
    """Mean −log p of the tokens to be learnt."""
    return language_loss(forward(model, batch, batch.answers + 1), batch)


def entropy(model: Any, batch: Batch) -> Tensor:
    """Mean H of the next token behind each row, in nats; rows end together."""
    log_p = forward(model, batch, 1)[:, -1].float().log_softmax(-1)
    return -(log_p.exp() * log_p).sum(-1).mean()


def train(
    adapters: Sequence[LoraWeights],
    recipe: TrainedRecipe,
    objective: Objective,
    *,
    answers: bool,
    model: Any,
    tokenizer: Any,
    data: Sequence[Sequence[Row]],
    work: Path | None = None,
    progress: Progress = ignore,
) -> MergeResult:
    """Learn the coefficients on the rows of all datasets together; `work` is a folder that a killed job finds again."""
    names = [adapter.name or f"adapter {i}" for i, adapter in enumerate(adapters, 1)]
    recipe.check([(name, adapter.facts()) for name, adapter in zip(names, adapters, strict=True)])
    recipe.check_data(names, {f"dataset {i}": len(rows) for i, rows in enumerate(data, 1)})
    examples = Examples(tokenizer, model, data, recipe, answers=answers)
    mixture = Mixture(adapters, recipe.begin(len(adapters)), recipe.by)
    learnt = mixture.coefficients.requires_grad_()
    device = next(model.parameters()).device

    def step(number: int, notes: Any) -> dict[str, Any]:
        loss = objective(model, examples.batch(number).to(device))
        loss.backward()
        return {"loss": float(loss.detach())}

    every = max(1, recipe.steps // CURVE_POINTS)
    with tempfile.TemporaryDirectory() as folder, mixture.on(model):
        notes = Loop(
            steps=recipe.steps,
            step=step,
            parameters={"coefficients": learnt},
            optimizer=adamw([([learnt], recipe.learning_rate, 0.0)]),
            schedule=lambda number: schedule(number, recipe.steps, 0.0),
            clip=CLIP,
            rate=recipe.learning_rate,
            state=work or Path(folder),
            key=_key(recipe, examples, adapters),
            begin=lambda notes: None,
            point=lambda number, figures: None if number % every else {"step": number, **figures},
            progress=share_of(progress, 0.0, TRAINING),
        ).run()
    told = {"read": examples.facts(), "training": {"steps": notes.step, "curve": notes.curve}}
    return mixture.merged(recipe, told, share_of(progress, TRAINING, 1 - TRAINING))


def _key(recipe: TrainedRecipe, examples: Examples, adapters: Sequence[LoraWeights]) -> str:
    """What a state has to be of, to be taken up again."""
    shapes = [{name: str(adapter.module_facts(name)) for name in adapter} for adapter in adapters]
    asked = {"recipe": recipe.to_dict(), "examples": examples.digest(), "adapters": shapes}
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()
