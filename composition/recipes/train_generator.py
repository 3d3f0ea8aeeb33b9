"""The recipe that trains a generator (arXiv:2411.05877)."""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

from composition.errors import RecipeError
from composition.formats.generator.config import NORMS, GeneratorConfig, adapted_modules
from composition.recipes.base import Recipe, option
from composition.recipes.method import Method, Needs

TRAIN_VERB = "train-generator"
TARGETS = ("o_proj", "down_proj")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainGeneratorRecipe(Recipe):
    """Train a generator for one base on plain text, and after that, if wanted, on questions."""

    kind: ClassVar[str] = "train-generator"

    stage: str = option(
        "choice",
        default="text",
        choices=("text", "questions"),
        label="Stage",
        help="text: reconstruct and complete documents, as published. questions: answer about contexts; starts from a "
        "generator trained on text.",
    )
    objective: str = option(
        "choice",
        default="both",
        choices=("both", "reconstruction", "completion"),
        label="Objective",
        help="For stage=text. Published: both; training on one alone loses much of the other.",
    )
    distillation: float = option(
        "number",
        default=0.0,
        minimum=0.0,
        maximum=1.0,
        label="Distillation",
        help="Share of the completion's loss whose target is what the base predicts with the text in its prompt, "
        "instead of the next token itself. For stage=text. Published: 0; Doc-to-LoRA's: 1.",
    )
    target: str = option(
        "choice", default="o_proj", choices=TARGETS, label="Adapted layer", help="Published: o_proj of every layer."
    )
    first_layer: int = option(
        "integer",
        default=0,
        minimum=0,
        maximum=2047,
        label="First layer",
        help="Lower layers stay as they are, and no gradient passes through them. Published: 0.",
    )
    inner: int = option(
        "integer", default=96, minimum=1, maximum=8192, label="R1", help="Width of keys and queries; published 1024."
    )
    r: int = option("integer", default=96, minimum=1, maximum=8192, label="R2", help="Width of values; published 1024.")
    rank: int | None = option(
        "integer",
        default=None,
        minimum=1,
        maximum=8192,
        label="Rank q",
        help="How many directions of the state are kept: the adapter's rank; empty for min(R1, R2). Published: 128.",
    )
    alpha: float | None = option(
        "number",
        default=None,
        minimum=1e-6,
        maximum=1e6,
        label="Alpha",
        help="The update is scaled by alpha / R2; empty for R2. Published: 64 with R2 = 1024.",
    )
    norm: str = option(
        "choice",
        default="svd",
        choices=NORMS,
        label="Normalisation",
        help="svd: published. polar: by matrix products, cheaper, needs rank = R1 = R2. frobenius, none: ablations.",
    )
    shift: int = option(
        "integer",
        default=0,
        minimum=0,
        maximum=1,
        label="Shift",
        help="1: a token's key is paired with the value of the token after it. 0: with its own, as published.",
    )
    start: str = option(
        "choice",
        default="random",
        choices=("random", "aligned"),
        label="First values",
        help="random: published. aligned: from how the base reads some of the text, so that a layer can recall from "
        "the first step on; needs shift 1.",
    )
    windows: tuple[float, ...] = option(
        "numbers",
        default=(64, 128, 256),
        minimum=8,
        maximum=8192,
        label="Segments",
        help="Lengths in tokens, which steps use in turn. Published: 1024.",
    )
    segments: int = option(
        "integer",
        default=8,
        minimum=2,
        maximum=64,
        label="Segments per document",
        help="The most per document; published: 8, which makes 16 with their reconstructions.",
    )
    batch_tokens: int = option(
        "integer",
        default=512,
        minimum=16,
        maximum=1_048_576,
        label="Tokens per step",
        help="Tokens of documents; each is read once, reconstructed once and completed once.",
    )
    steps: int = option(
        "integer", default=1000, minimum=1, maximum=10_000_000, label="Steps", help="Updates of the generator."
    )
    learning_rate: float = option(
        "number",
        default=3e-3,
        minimum=1e-8,
        maximum=1.0,
        label="Learning rate",
        help="AdamW's peak rate. A small generator tolerates more than the published 1e-4.",
    )
    warmup: int = option(
        "integer", default=20, minimum=0, maximum=100_000, label="Warm-up", help="In steps; published: 100."
    )
    decay: float = option(
        "number",
        default=0.3,
        minimum=0.0,
        maximum=1.0,
        label="Decay",
        help="Share of the steps, at the end, over which the rate falls linearly to zero.",
    )
    weight_decay: float = option(
        "number", default=0.01, minimum=0.0, maximum=1.0, label="Weight decay", help="AdamW's; published: 0.01."
    )
    clip: float = option(
        "number", default=1.0, minimum=1e-6, maximum=1e6, label="Clip", help="Largest norm of a gradient."
    )
    precision: str = option(
        "choice",
        default="keep",
        choices=("keep", "bfloat16"),
        label="Base's precision",
        help="keep: as it is loaded. bfloat16: training uses a copy of the base in it; the generator stays in float32.",
    )
    gradient_checkpointing: bool = option(
        "boolean",
        default=False,
        label="Gradient checkpointing",
        help="Recompute the base's layers in the backward pass: a third slower, far less memory.",
    )
    measure_every: int = option(
        "integer", default=100, minimum=1, maximum=1_000_000, label="Measure", help="Steps between held-out figures."
    )
    holdout: int = option(
        "integer",
        default=16,
        minimum=0,
        maximum=1024,
        label="Held out",
        help="Documents held out of training, to measure the gap closed.",
    )
    max_length: int = option(
        "integer",
        default=1024,
        minimum=8,
        maximum=131_072,
        label="Longest row",
        help="Question and answer together, in tokens. For stage=questions.",
    )
    seed: int = option(
        "integer",
        default=0,
        minimum=0,
        maximum=2**32 - 1,
        label="Seed",
        help="Decides the first values and the batches.",
    )

    def __post_init__(self) -> None:
        Recipe.__post_init__(self)
        if any(not width.is_integer() for width in self.windows) or not self.windows:
            raise RecipeError("windows", f"Segments: expected whole numbers, got {list(self.windows)}.")
        if self.q > min(self.inner, self.r):
            raise RecipeError("rank", f"Rank q: {self.q} is more than min(R1, R2) = {min(self.inner, self.r)}.")
        if self.norm == "polar" and not self.q == self.inner == self.r:
            raise RecipeError(
                "norm",
                f"Normalisation: polar keeps all directions, so R1, R2 and rank must be equal; they are {self.inner}, "
                f"{self.r} and {self.q}. Use svd.",
            )
        if self.start == "aligned" and not self.shift:
            raise RecipeError("start", "First values: aligned pairs a token with the one after it. Set shift to 1.")
        if self.distillation and self.stage != "text":
            raise RecipeError(
                "distillation",
                f"Distillation: {self.distillation:g} was given, but the stage questions does not use it. Set it to 0.",
            )
        if max(self.windows) * 2 > self.batch_tokens and self.stage == "text":
            raise RecipeError(
                "batch_tokens",
                f"Tokens per step: {self.batch_tokens} can't hold two segments of {max(self.windows):.0f} tokens. "
                f"Use at least {2 * max(self.windows):.0f}.",
            )

    @property
    def q(self) -> int:
        """The rank with its default filled in."""
        return self.rank or min(self.inner, self.r)

    def window(self, step: int) -> int:
        """The segments' length at this step."""
        return int(self.windows[step % len(self.windows)])

    def schedule(self, step: int) -> float:
        """The learning rate's factor: a linear warm-up, flat, and a linear fall over the last `decay` of the steps."""
        falling = self.decay * self.steps
        rise = min(1.0, (step + 1) / (self.warmup + 1))
        return rise if not falling else min(rise, (self.steps - step) / max(1, math.ceil(falling)))

    def config_for(self, base_model: str, shapes: Any) -> GeneratorConfig:
        """The generator for a base of these linear layers ({name: [out, in]}). Errors: `generator.base_layers`."""
        modules, (out_features, in_features) = adapted_modules(shapes, self.target, self.first_layer)
        hidden = out_features  # Both targets write into the residual stream that the layers read.
        return GeneratorConfig(
            base_model=base_model,
            modules=tuple(modules),
            hidden=hidden,
            in_features=in_features,
            out_features=out_features,
            inner=self.inner,
            r=self.r,
            rank=self.q,
            alpha=float(self.alpha or self.r),
            norm=self.norm,
            shift=self.shift,
            training={},
        )


METHODS = (
    Method(
        kind="train-generator",
        verb="train-generator",
        label="Generator training",
        summary="Trains the generator that turns texts into adapters of one base, on plain text.",
        recipe=TrainGeneratorRecipe,
        function="composition.generative.train:train_generator",
        needs=Needs(min_inputs=0, max_inputs=0, base_model=True, device="any"),
        paper="https://arxiv.org/abs/2411.05877",
        result="generator",
    ),
)
