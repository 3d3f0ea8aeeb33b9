"""A text in, an ordinary LoRA out (arXiv:2411.05877): read the text once, normalise what it left, fold.

Everything that can be refused is refused before the base runs.
"""

import hashlib
import time
from dataclasses import dataclass
from typing import Any

import torch

from composition.chunking import cut
from composition.errors import CompositionError
from composition.formats.generator.files import check_base
from composition.generative.encode import read
from composition.generative.layer import Generator
from composition.generative.state import State
from composition.generative.train import linear_shapes
from composition.progress import Progress, ignore
from composition.recipes.generate import GenerateRecipe
from composition.weights import Factors, LoraWeights


@dataclass(frozen=True, slots=True)
class GenerateResult:
    """`weights` is an ordinary LoRA in the recipe's precision; `state` adds up with other texts' states.

    `report`: tokens, chunks, boundaries [[begin, end]] in tokens, text_sha256, generator (digest), seconds, rank,
    norms {module: ‖ΔW‖}; with several texts also total_tokens.
    """

    weights: LoraWeights
    state: State
    report: dict[str, Any]


def generate(
    base_model: Any,
    tokenizer: Any,
    generator: Generator,
    text: str,
    recipe: GenerateRecipe,
    *,
    base_id: str | None = None,
    onto: State | None = None,
    progress: Progress = ignore,
) -> GenerateResult:
    """The adapter of `text`, or of the texts in the state `onto` and this one.

    `base_id` names the base where the caller knows it; it must be the generator's. Raises CompositionError
    `generate.empty`, `.binary`, `.too_long`, `generator.other_base`, `generator.shape`, `state.other_generator`.
    """
    recipe.check_text(text)
    check_generator(base_model, generator, base_id)
    ids = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    recipe.check_length(len(ids), getattr(base_model.config, "max_position_embeddings", None))
    began = time.monotonic()
    if onto is not None:
        onto + State.zero(generator)
    own = read(base_model, generator, ids, recipe, progress=progress)
    state = own if onto is None else onto + own
    weights = adapter_of(generator, state, base_model, dtype=getattr(torch, recipe.dtype), strength=recipe.strength)
    parts = cut(len(ids), recipe.mode, recipe.window)
    report = {
        "tokens": len(ids),
        "total_tokens": state.tokens,
        "chunks": len(parts),
        "boundaries": [list(pair) for pair in parts],
        "text_sha256": hashlib.sha256(text.encode()).hexdigest(),
        "generator": state.generator,
        "rank": generator.config.adapter_rank,
        "norms": {module: round(_norm(weights[module]), 6) for module in weights},
        "seconds": round(time.monotonic() - began, 3),
    }
    return GenerateResult(weights, state, report)


def adapter_of(
    generator: Generator,
    state: State,
    base_model: Any = None,
    *,
    dtype: torch.dtype = torch.float32,
    strength: float = 1.0,
) -> LoraWeights:
    """The LoRA of a state that is a sum or a difference of texts; `strength` multiplies its scale.

    Errors: `state.other_generator`.
    """
    state + State.zero(generator)
    weights = generator.fold(state.S, suffixes(generator, base_model))
    made = {m: Factors(f.A.to(dtype), f.B.to(dtype), f.scale * strength) for m, f in weights.items()}
    return LoraWeights(
        made, base_model=weights.base_model, task_type=weights.task_type, target_modules=weights.target_modules
    )


def check_generator(base_model: Any, generator: Generator, base_id: str | None = None) -> None:
    """Refuse a generator of another base, by id or by shapes: `generator.other_base`, `generator.shape`."""
    config = generator.config
    if base_id is not None and base_id != config.base_model:
        raise CompositionError(
            "generator.other_base",
            f"This generator writes adapters for {config.base_model}, not for {base_id}. Choose a generator of that "
            "base, or train one with train-generator.",
            given=config.base_model,
            expected=base_id,
        )
    check_base(config, linear_shapes(base_model))


def suffixes(generator: Generator, base_model: Any) -> tuple[str, ...] | None:
    """The adapted modules' common last name, where every linear layer of that name in the base is adapted."""
    leaves = {module.rpartition(".")[2] for module in generator.config.modules}
    if base_model is None:
        return None
    named = {name for name in linear_shapes(base_model) if name.rpartition(".")[2] in leaves}
    return tuple(sorted(leaves)) if named == set(generator.config.modules) else None


def _norm(factors: Factors) -> float:
    """‖s · B A‖_F by the Gram matrices, without the dense product."""
    A, B = factors.A.double(), factors.B.double()
    return abs(factors.scale) * float(((A @ A.T) * (B.T @ B)).sum().clamp(min=0).sqrt())
