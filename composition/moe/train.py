"""Training the router of an assembly on a frozen base.

MeteoRA (arXiv:2405.13053):   L = L_LM + β · L_gate
    L_gate = mean cross-entropy of every module's gate to the row's own adapter, over all real tokens, prompts too
SMoRA (arXiv:2501.15103):     L = L_LM, and after each step b_j += u · sign(mean(c) − c_j)
    c_j = how many tokens were sent to rank j

L_LM is the next token's cross-entropy, on answers or on whole rows (recipe.loss_on). `router` trains gates alone on
frozen experts, `experts` and `full` the stacks too, in float32 whatever they are stored in. AdamW, a linear warm-up, a
cosine to zero, gradients clipped to norm 1. Nothing is drawn while it runs (no dropout; batches follow from seed and
step), and `checkpoint` keeps the whole state: a run that is killed and taken up again ends with the same bytes.
"""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from composition.moe.assemble import Assembly
from composition.moe.batches import Batch, Corpus, Row, make_corpus
from composition.moe.lora_moe_peft import Routing, SmoraLinear, record_routing
from composition.moe.routing import batch_shares, expert_names, forward
from composition.moe.save import save_assembly
from composition.progress import Progress, ignore
from composition.recipes import AssembleRecipe, MeteoraRecipe, SmoraRecipe
from composition.running.base_models import adapter_attached
from composition.training.checkpoint import Notes
from composition.training.loop import Loop, adamw

CLIP = 1.0
CURVE_POINTS = 100
SECONDS_A_CHECKPOINT = 30.0
DRAFT, STATE = "draft", "state"


def train_assembly(
    base: Any,
    tokenizer: Any,
    assembly: Assembly,
    recipe: AssembleRecipe,
    data: Mapping[str, Sequence[Row]],
    *,
    work: Path,
    progress: Progress = ignore,
    save_every: float = SECONDS_A_CHECKPOINT,
) -> Assembly:
    """The draft with its router trained on `data` ({expert's name, or any name of a mixed text: rows}).

    `work` is a folder that a killed job finds again: the draft and, every `save_every` seconds, the run's state. The
    base is left as it was found. Raises CompositionError `assemble.no_data`, `assemble.empty_data`,
    `assemble.unknown_data`, `train.diverged`, and whatever `progress` raises to stop it.
    """
    names = [expert["name"] for expert in assembly.config["experts"]]
    recipe.check_data(names, {name: len(rows) for name, rows in data.items()})
    draft = work / DRAFT
    save_assembly(assembly, draft, draft=True)
    with _trainable_on(base, draft) as model:
        corpus = make_corpus(tokenizer, data, names, recipe, model)
        tensors, record = _Run(model, corpus, recipe, work / STATE, progress, save_every).finish()
    stored = {key: tensor.to(assembly.entries[key].dtype) for key, tensor in tensors.items()}
    return assembly.with_trained(stored, record)


@contextmanager
def _trainable_on(base: Any, folder: Path) -> Iterator[Any]:
    """The base with the draft on it, ready to be trained without dropout; afterwards the base as it was."""
    wanted = {name: parameter.requires_grad for name, parameter in base.named_parameters()}
    training = base.training
    try:
        with adapter_attached(base, folder, trainable=True) as model:
            yield model
    finally:
        for name, parameter in base.named_parameters():
            parameter.requires_grad_(wanted.get(name, False))
        base.train(training)


class _Run:
    """One training, from its start or its last checkpoint to its end."""

    def __init__(
        self, model: Any, corpus: Corpus, recipe: AssembleRecipe, state: Path, progress: Progress, save_every: float
    ) -> None:
        self.model, self.corpus, self.recipe, self.progress = model, corpus, recipe, progress
        self.state, self.save_every = state, save_every
        self.names = expert_names(model)
        self.steps = recipe.steps_for(corpus.rows)
        self.device = next(model.parameters()).device
        self.parameters = _trainable(model)
        self.buffers = {_key(name): b for name, b in sorted(model.named_buffers()) if "smora_bias" in name}
        gates = [p for name, p in self.parameters.items() if name.endswith("gate")]
        others = [p for name, p in self.parameters.items() if not name.endswith("gate")]
        decay = recipe.weight_decay
        self.optimizer = adamw([(gates, recipe.learning_rate, decay), (others, recipe.expert_rate, decay)])
        self.digest = self._digest()

    def finish(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """(trained tensors by their names in the file, the record for router.json)."""
        with record_routing(self.model, logits=isinstance(self.recipe, MeteoraRecipe)) as routing:
            notes = Loop(
                steps=self.steps,
                step=lambda number, notes: self.step(number, routing),
                parameters=self.parameters,
                buffers=self.buffers,
                optimizer=self.optimizer,
                schedule=lambda number: schedule(number, self.steps, self.recipe.warmup),
                clip=CLIP,
                rate=self.recipe.learning_rate,
                state=self.state,
                key=self.digest,
                begin=self._begin,
                point=self._point,
                tell=self._told,
                after_update=lambda: self._balance(routing),
                progress=self.progress,
                save_every=self.save_every,
            ).run()
        tensors = {**self.parameters, **self.buffers}
        record = self._record(notes, self.measure(1.0, "after training"))
        return {key: tensor.detach().cpu().contiguous().clone() for key, tensor in tensors.items()}, record

    def step(self, number: int, routing: Routing) -> dict[str, Any]:
        """One forward and backward pass; its figures."""
        pieces = [piece.to(self.device) for piece in self.corpus.pieces(number)]
        self.tokens = tokens = torch.cat([piece.tokens for piece in pieces])
        learnt = [int(piece.learnt.sum()) for piece in pieces]
        routing.clear()
        means = [language_loss(forward(self.model, piece, piece.answers + 1), piece) for piece in pieces]
        loss = torch.stack([mean * count for mean, count in zip(means, learnt, strict=True)]).sum() / sum(learnt)
        losses = {"lm_loss": loss}
        if isinstance(self.recipe, MeteoraRecipe):
            losses["gate_loss"], accuracy = gate_loss(routing, *pieces)
            loss = loss + self.recipe.beta * losses["gate_loss"]
        loss.backward()
        figures: dict[str, Any] = {"loss": float(loss.detach())}
        figures |= {name: float(part.detach()) for name, part in losses.items()}
        if isinstance(self.recipe, MeteoraRecipe):
            figures["gate_accuracy"] = float(accuracy)
        if number % 10 == 0 or number == self.steps - 1:
            figures["shares"] = self._shares(batch_shares(routing, tokens), int(tokens.sum()))
        return figures

    @torch.no_grad()
    def measure(self, fraction: float, when: str) -> dict[str, Any]:
        """By task, on held-out rows: nll a token of the answers, tokens, expert shares, and their own expert's."""
        figures = {}
        for task, batches in self.corpus.held():
            self.progress(fraction, f"Held-out rows of {task}, {when}")
            nll, answered, read = 0.0, 0, 0
            sums: dict[str, Tensor] = {}
            for batch in (batch.to(self.device) for batch in batches):
                with record_routing(self.model) as routing:
                    count = int(batch.learnt.sum())
                    nll += float(language_loss(forward(self.model, batch, batch.answers + 1), batch)) * count
                    answered, read = answered + count, read + int(batch.tokens.sum())
                    for module, share in batch_shares(routing, batch.tokens).items():
                        sums[module] = sums.get(module, 0) + share
            shares = self._shares(sums, read)
            figures[task] = {"nll": round(nll / answered, 5), "tokens": answered, "shares": shares}
            if task in shares:
                figures[task]["own_share"] = shares[task]
        return figures

    def _shares(self, sums: Mapping[str, Tensor], tokens: int) -> dict[str, float]:
        mean = torch.stack([share.double() for share in sums.values()]).mean(0) / tokens
        return {name: round(float(value), 4) for name, value in zip(self.names, mean, strict=True)}

    def _begin(self, notes: Notes) -> None:
        notes.before = self.measure(0.0, "before training")

    def _point(self, number: int, figures: dict[str, Any]) -> dict[str, Any] | None:
        if number % max(1, self.steps // CURVE_POINTS) and number != self.steps - 1:
            return None
        return {"step": number, **{key: round(value, 5) for key, value in figures.items() if key != "shares"}}

    def _told(self, notes: Notes, figures: dict[str, Any]) -> dict[str, Any]:
        shares = figures.pop("shares", None)
        return figures if shares is None else {**figures, "expert_shares": shares}

    def _balance(self, routing: Routing) -> None:
        """SMoRA's bias, after the step's update."""
        if isinstance(self.recipe, SmoraRecipe) and self.recipe.bias_update:
            for module, layer in routing.items():
                assert isinstance(layer, SmoraLinear)
                layer.update_bias(routing.experts(module)[self.tokens], self.recipe.bias_update)

    def _record(self, notes: Notes, after: dict[str, Any]) -> dict[str, Any]:
        tasks = {
            t.name: {"rows": len(t.examples), "held_out": len(t.held), "shortened": t.shortened}
            for t in self.corpus.tasks
        }
        return {
            "stage": f"{self.recipe.kind}-{self.recipe.stage}",
            "recipe": self.recipe.to_dict(),
            "steps": self.steps,
            "seed": self.recipe.seed,
            "data": {"sha256": self.corpus.digest(), "tasks": tasks},
            "curve": notes.curve,
            "held_out": {"before": notes.before, "after": after},
        }

    def _digest(self) -> str:
        seen = hashlib.sha256(json.dumps(self.recipe.to_dict(), sort_keys=True).encode())
        config = asdict(self.model.peft_config[self.model.active_adapter])
        seen.update(json.dumps(config, sort_keys=True, default=str).encode())
        seen.update(self.corpus.digest().encode())
        for name, tensor in (*self.parameters.items(), *self.buffers.items()):
            seen.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
        return seen.hexdigest()


def language_loss(logits: Tensor, batch: Batch) -> Tensor:
    """Mean −log p of the tokens to be learnt, from the last answers + 1 positions' logits [B, answers + 1, V]."""
    keep = batch.answers
    wanted = batch.ids[:, -keep:].masked_fill(~batch.learnt[:, -keep:], -100)
    scores = logits[:, -keep - 1 : -1].float()
    return nn.functional.cross_entropy(scores.flatten(0, 1), wanted.flatten(), ignore_index=-100)


def gate_loss(routing: Routing, *batches: Batch) -> tuple[Tensor, Tensor]:
    """(L_gate, the share of tokens whose largest logit is their own expert's) over all modules and real tokens.

    `batches` are those that were read, in order, while `routing` took notes.
    """
    labels = torch.cat([batch.labels for batch in batches])
    real = torch.cat([batch.tokens for batch in batches]) & (labels >= 0)
    labels = labels[real]
    logits = torch.stack([routing.logits(module)[real] for module in routing])  # [modules, tokens, n]
    wanted = labels.expand(len(logits), -1)
    loss = nn.functional.cross_entropy(logits.flatten(0, 1), wanted.flatten())
    return loss, (logits.detach().argmax(-1) == wanted).float().mean()


def schedule(step: int, steps: int, warmup: float) -> float:
    """The learning rate's factor: linear over the first `warmup` share of the steps, then a cosine to zero."""
    ramp = round(warmup * steps)
    if step < ramp:
        return (step + 1) / (ramp + 1)
    return 0.5 * (1 + math.cos(math.pi * (step - ramp) / max(1, steps - ramp)))


def _trainable(model: Any) -> dict[str, nn.Parameter]:
    """What is trained, by its name in the file, in float32: moments and small steps are lost in less."""
    found = {_key(name): p for name, p in sorted(model.named_parameters()) if p.requires_grad}
    for parameter in found.values():
        parameter.data = parameter.data.float()
    return found


def _key(name: str) -> str:
    return name.removesuffix(".default")
