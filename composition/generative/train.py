"""Training a generator on a frozen base (arXiv:2411.05877).

    L = L_reconstruct + L_complete        mean next-token cross-entropy of each, the adapter the only way to the text

(`loss` has it whole). A step runs the base once without gradient for the states, then once over all learnt rows with
each row under its own adapter, and back through the layers from the first adapted one. AdamW, linear warm-up, flat,
linear fall to zero, gradients clipped. Batches follow from seed and step and nothing else is drawn, so a run that is
killed and taken up again from `work` ends with the same bytes.
"""

import copy
import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn
from transformers.modeling_layers import GradientCheckpointingLayer

from composition.errors import CompositionError
from composition.formats.generator.config import PARTS, GeneratorConfig
from composition.generative.layer import Generator
from composition.generative.loss import losses
from composition.generative.measure import gap, held_out
from composition.generative.segments import Corpus
from composition.generative.start import align
from composition.progress import Progress, ignore
from composition.recipes.train_generator import TrainGeneratorRecipe
from composition.training.checkpoint import STATE_FILE, Notes
from composition.training.loop import Loop, adamw
from composition.training.parallel import ALONE, Replicas

SECONDS_A_CHECKPOINT = 60.0
CURVE_POINTS = 200
ALIGNED_BATCHES = 32
AVERAGED = 0.95
"""The figures of a step are running means: single batches differ more than training changes in a hundred steps."""


def train_generator(
    base: Any,
    tokenizer: Any,
    recipe: TrainGeneratorRecipe,
    data: Sequence[Any],
    *,
    base_model: str,
    work: Path,
    start: Generator | None = None,
    progress: Progress = ignore,
    save_every: float = SECONDS_A_CHECKPOINT,
    replicas: Replicas = ALONE,
) -> Generator:
    """A generator for `base` (its id: `base_model`), learnt from documents or (stage questions) from rows of
    {"context", "question", "answer"}; `start` is the generator to begin from. The base is left as it was found.

    `work` is a folder that a killed run finds again. Progress gets loss, reconstruction, completion, tokens and, every
    `measure_every` steps, gap_closed by objective. Raises CompositionError `train.*`, `generator.base_layers`, and
    whatever `progress` raises to stop it.
    """
    corpus = make_corpus(tokenizer, data, recipe, start)
    config = _config(base, recipe, base_model, start)
    generator = Generator(config)
    if start is None:
        generator.start(recipe.seed, base_norms(base, config))
    else:
        generator.load_state_dict(start.state_dict())
    with frozen(base, recipe) as model:
        run = _Run(model, generator, corpus, recipe, work, progress, save_every, replicas)
        return run.finish(aligned=start is None and recipe.start == "aligned")


class _Run:
    """One training, from its start or its last checkpoint to its end."""

    def __init__(
        self,
        base: Any,
        generator: Generator,
        corpus: Any,
        recipe: TrainGeneratorRecipe,
        work: Path,
        progress: Progress,
        save_every: float,
        replicas: Replicas,
    ) -> None:
        self.device, self.replicas = next(base.parameters()).device, replicas
        self.base, self.generator, self.corpus = base, generator.to(self.device), corpus
        self.recipe, self.work, self.progress, self.save_every = recipe, work, progress, save_every
        self.parameters = {part: getattr(generator, part) for part in PARTS}
        others = [parameter for part, parameter in self.parameters.items() if part != "norm"]
        rate = recipe.learning_rate
        self.optimizer = adamw([(others, rate, recipe.weight_decay), ([generator.norm], rate, 0.0)])
        self.data_digest = corpus.digest()
        self.digest = self._digest()

    def finish(self, *, aligned: bool = False) -> Generator:
        """The trained generator, with its record; one that begins anew may be aligned with its base first."""

        def begin(notes: Notes) -> None:
            notes.before = {"tokens": 0}
            if aligned:
                self.align()

        notes = Loop(
            steps=self.recipe.steps,
            step=self.step,
            parameters=self.parameters,
            optimizer=self.optimizer,
            schedule=self.recipe.schedule,
            clip=self.recipe.clip,
            rate=self.recipe.learning_rate,
            state=self.work,
            key=self.digest,
            begin=begin,
            measure=self._measured,
            point=self._point,
            progress=self.progress,
            save_every=self.save_every,
            replicas=self.replicas,
        ).run()
        return self._trained(notes)

    def align(self) -> None:
        """First values from how the base reads the first batches."""
        self.progress(0.0, "Reading text to begin from")
        if self.replicas.first:
            read = (self.corpus.batch(step).ids.to(self.device) for step in range(ALIGNED_BATCHES))
            align(self.base, self.generator, read, self.recipe.seed)
        self.replicas.follow_first(self.parameters.values())

    def step(self, number: int, notes: Notes) -> dict[str, float]:
        """One forward and backward pass; its figures."""
        batch = self.corpus.batch(number)
        notes.before["tokens"] += batch.tokens
        return losses(
            self.base,
            self.generator,
            batch.share(self.replicas).to(self.device),
            distillation=self.recipe.distillation,
            learn=True,
            replicas=self.replicas,
        )

    def measure(self) -> dict[str, float]:
        """Gap closed against another document's adapter, by objective, on the held-out documents."""
        documents = self.corpus.held_tokens() if self.recipe.stage == "text" else []
        rows = held_out(self.base, self.generator, documents, self.recipe.window(0)) if len(documents) > 1 else {}
        return {f"gap_{name}": gap(row) for name, row in rows.items()}

    def _measured(self, notes: Notes, figures: dict[str, float]) -> dict[str, Any]:
        """Running means of the steps' figures and, every `measure_every` steps, what the held-out documents say."""
        means: dict[str, float] = notes.before.setdefault("means", {})
        for name, value in figures.items():
            means[name] = round(AVERAGED * means.get(name, value) + (1 - AVERAGED) * value, 6)
        told: dict[str, Any] = {**means, "tokens": notes.before["tokens"]}
        if notes.step % self.recipe.measure_every == 0 or notes.step == self.recipe.steps:
            told |= self.measure()
        return told

    def _point(self, number: int, told: dict[str, Any]) -> dict[str, Any] | None:
        every, last = max(1, self.recipe.steps // CURVE_POINTS), number == self.recipe.steps - 1
        if number % every and not last and "gap_completion" not in told:
            return None
        return {"step": number + 1, **{name: round(value, 5) for name, value in told.items()}}

    def _trained(self, notes: Notes) -> Generator:
        data = {"sha256": self.data_digest, "documents": len(self.corpus.documents)}
        return with_config(self.generator, _with_record(self.generator.config, self.recipe, notes, data=data))

    def _digest(self) -> str:
        seen = hashlib.sha256(json.dumps(self.recipe.to_dict(), sort_keys=True).encode())
        seen.update((self.generator.digest() + self.data_digest).encode())
        return seen.hexdigest()


def kept_generator(
    work: Path, base: Any, recipe: TrainGeneratorRecipe, base_model: str, start: Generator | None = None
) -> Generator:
    """The generator as a run that was stopped left it in `work`, to be looked at. Errors: `train.nothing_kept`.

    `start` is the one that the run began from.
    """
    path = work / STATE_FILE
    if not path.is_file():
        raise CompositionError("train.nothing_kept", f"{work.name} holds no state of a training. Start one.")
    config = _config(base, recipe, base_model, start)
    with safe_open(path, framework="pt") as source, torch.no_grad():
        known = json.loads(source.metadata()["state"])
        notes = Notes(known["step"], known["curve"], known["before"])
        generator = Generator(_with_record(config, recipe, notes))
        for part in PARTS:
            getattr(generator, part).copy_(source.get_tensor(f"parameter {part}"))
    return generator.requires_grad_(False)


def _config(base: Any, recipe: TrainGeneratorRecipe, base_model: str, start: Generator | None) -> GeneratorConfig:
    return start.config if start is not None else recipe.config_for(base_model, linear_shapes(base))


def _with_record(config: GeneratorConfig, recipe: TrainGeneratorRecipe, notes: Notes, **more: Any) -> GeneratorConfig:
    """The config with the training's record, which keeps that of the training it went on from."""
    record = {"recipe": recipe.to_dict(), "steps": notes.step, "tokens": notes.before["tokens"], **more}
    before = {"before": config.training} if config.training else {}
    return replace(config, training={**record, "curve": notes.curve, **before})


def make_corpus(tokenizer: Any, data: Sequence[Any], recipe: TrainGeneratorRecipe, start: Generator | None) -> Any:
    """The corpus of the recipe's stage."""
    if recipe.stage == "text":
        return Corpus(tokenizer, data, recipe)
    from composition.generative.questions import Questions

    if start is None:
        raise CompositionError(
            "train.no_start", "The stage questions begins from a generator trained on text. Give one."
        )
    return Questions(tokenizer, data, recipe)


@contextmanager
def frozen(base: Any, recipe: TrainGeneratorRecipe) -> Iterator[Any]:
    """The base as the recipe trains on it, without gradients of its own; afterwards as it was."""
    wanted = {name: p.requires_grad for name, p in base.named_parameters()}
    dtype = next(base.parameters()).dtype
    copied = recipe.precision == "bfloat16" and dtype != torch.bfloat16
    model = copy.deepcopy(base).to(torch.bfloat16) if copied else base
    model.requires_grad_(False)
    layers = [m for m in model.modules() if isinstance(m, GradientCheckpointingLayer)]
    try:
        if recipe.gradient_checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": False})
            for layer in layers:
                layer.training = True  # The layer's own switch: dropout inside it stays off.
        yield model
    finally:
        if recipe.gradient_checkpointing:
            model.gradient_checkpointing_disable()
            for layer in layers:
                layer.training = False
        for name, parameter in base.named_parameters():
            parameter.requires_grad_(wanted[name])


def linear_shapes(base: nn.Module) -> dict[str, list[int]]:
    """{name: [out, in]} of the base's linear layers."""
    return {name: list(m.weight.shape) for name, m in base.named_modules() if isinstance(m, nn.Linear)}


def base_norms(base: nn.Module, config: GeneratorConfig) -> Tensor | None:
    """[L, D]: the weights with which the base itself norms those layers' inputs, None where it has no such."""
    found = [getattr(base.get_submodule(name), "input_layernorm", None) for name in config.layers]
    weights = [getattr(norm, "weight", None) for norm in found]
    known = [w.detach().float().cpu() for w in weights if isinstance(w, Tensor) and w.shape == (config.hidden,)]
    return torch.stack(known) if len(known) == len(weights) else None


def with_config(generator: Generator, config: GeneratorConfig) -> Generator:
    """The same weights on the CPU under another record."""
    made = Generator(config)
    made.load_state_dict(generator.state_dict())
    return made.requires_grad_(False)
