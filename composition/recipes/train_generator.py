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
    """A generator for one base, learnt from plain text alone, or made to answer questions after that."""

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
        help="Of the stage text. Published: both; either alone loses much of the other.",
    )
    distillation: float = option(
        "number",
        default=0.0,
        minimum=0.0,
        maximum=1.0,
        label="Distillation",
        help="Share of the completion's loss that is learnt from what the base says with the text in its prompt, "
        "instead of from the next token itself. Of the stage text. Published: 0; Doc-to-LoRA's: 1.",
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
        help="Lower layers stay as they are, and no gradient passes them. Published: 0.",
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
        help="Directions of the state that are kept, the adapter's rank; empty for min(R1, R2). Published: 128.",
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
        help="svd: published. polar: by products, cheaper, needs rank = R1 = R2. frobenius, none: ablations.",
    )
    shift: int = option(
        "integer",
        default=0,
        minimum=0,
        maximum=1,
        label="Shift",
        help="1: a token's key goes with the value of the token after it. 0: with its own, as published.",
    )
    start: str = option(
        "choice",
        default="random",
        choices=("random", "aligned"),
        label="First values",
        help="random: published. aligned: from how the base reads some of the text, so that a layer recalls from the "
        "first step on; needs shift 1.",
    )
    windows: tuple[float, ...] = option(
        "numbers",
        default=(64, 128, 256),
        minimum=8,
        maximum=8192,
        label="Segments",
        help="Lengths in tokens that steps take in turn. Published: 1024.",
    )
    segments: int = option(
        "integer",
        default=8,
        minimum=2,
        maximum=64,
        label="Segments a document",
        help="At most so many; published 8, which are 16 with their reconstructions.",
    )
    batch_tokens: int = option(
        "integer",
        default=512,
        minimum=16,
        maximum=1_048_576,
        label="Tokens a step",
        help="Of documents; each is read once, reconstructed once and completed once.",
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
        help="AdamW's peak. A small generator bears more than the published 1e-4.",
    )
    warmup: int = option(
        "integer", default=20, minimum=0, maximum=100_000, label="Warm-up", help="Steps; published 100."
    )
    decay: float = option(
        "number",
        default=0.3,
        minimum=0.0,
        maximum=1.0,
        label="Decay",
        help="Last share of the steps, over which the rate falls to zero in a straight line.",
    )
    weight_decay: float = option(
        "number", default=0.01, minimum=0.0, maximum=1.0, label="Weight decay", help="AdamW's; published 0.01."
    )
    clip: float = option(
        "number", default=1.0, minimum=1e-6, maximum=1e6, label="Clip", help="Largest norm of a gradient."
    )
    precision: str = option(
        "choice",
        default="keep",
        choices=("keep", "bfloat16"),
        label="Base's precision",
        help="keep: as it is loaded. bfloat16: a copy of the base is trained on; the generator stays in float32.",
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
        help="Documents kept from training, on which the gap closed is measured.",
    )
    max_length: int = option(
        "integer",
        default=1024,
        minimum=8,
        maximum=131_072,
        label="Longest row",
        help="Of question and answer in the stage questions, in tokens.",
    )
    seed: int = option(
        "integer", default=0, minimum=0, maximum=2**32 - 1, label="Seed", help="Of the first values and the batches."
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
                "distillation", f"Distillation: {self.distillation:g} was given for the stage questions. Set it to 0."
            )
        if max(self.windows) * 2 > self.batch_tokens and self.stage == "text":
            raise RecipeError(
                "batch_tokens",
                f"Tokens a step: {self.batch_tokens} hold no two segments of {max(self.windows):.0f}. "
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
