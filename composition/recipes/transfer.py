"""The recipe of Trans-LoRA (arXiv:2405.17258): synthesis, filter, labelling, distillation.

Defaults are the paper's where it states them; where it does not, or where ours differ, the help says so.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from composition.errors import CompositionError, RecipeError
from composition.formats.peft.layouts.choosing import UNIFORM
from composition.formats.strict_json import shorten
from composition.recipes.base import option
from composition.recipes.layout import BEFORE_LAYOUTS, layout_option
from composition.recipes.memory import PRECISIONS
from composition.recipes.method import Method, Needs
from composition.recipes.synthesis import USUAL_SEEDS, SynthesisOptions, check_seeds, seed_option, targets_option

DISCRIMINATOR, TOKEN_SCORE, NONE = "discriminator", "token-score", "none"
PLAIN_TYPES = ("lora", "rslora")
PEFT_TYPES = (*PLAIN_TYPES, "dora", "ia3", "vera", "loha", "oft")


@dataclass(frozen=True, slots=True, kw_only=True)
class TransLoraRecipe(SynthesisOptions):
    """Trans-LoRA: the target invents inputs, the discriminator filters, the source answers, the target learns."""

    kind: ClassVar[str] = "trans-lora"
    version: ClassVar[int] = 2
    earlier: ClassVar[Mapping[int, Mapping[str, Any]]] = BEFORE_LAYOUTS

    samples: int = option(
        "integer",
        default=250,
        minimum=1,
        maximum=100_000,
        label="Samples",
        help="How many invented inputs are kept and trained on (published: 250).",
    )
    filter: str = option(
        "choice",
        default=DISCRIMINATOR,
        choices=(DISCRIMINATOR, TOKEN_SCORE, NONE),
        label="Filter",
        help="discriminator: published; keeps an input when yes is likelier than no. token-score: TiTok, needs no "
        "discriminator; keeps inputs whose answer the source adapter changes most. none: the unfiltered ablation.",
    )
    synthesiser: str = option(
        "choice",
        default="target",
        choices=("target", "source"),
        label="Inputs invented by",
        help="target: as published; any base that can continue a list will do.",
    )
    max_candidates: float = option(
        "number",
        default=20.0,
        minimum=1.0,
        maximum=10_000.0,
        label="Candidates",
        help="Stop after this many candidates for each wanted sample, and continue with those that were kept.",
    )
    oversample: float = option(
        "number",
        default=2.0,
        minimum=1.0,
        maximum=100.0,
        label="Oversampling",
        help="For token-score: how many distinct candidates per sample are answered; the best are kept.",
    )
    token_share: float = option(
        "number",
        default=0.7,
        minimum=0.05,
        maximum=1.0,
        label="Share of tokens",
        help="For token-score: the share of an answer's tokens that the loss is on, those with the highest scores "
        "(published: 0.7).",
    )
    answer_tokens: int = option(
        "integer",
        default=64,
        minimum=1,
        maximum=4096,
        label="Answer tokens",
        help="Longest answer of the teacher, in tokens.",
    )
    labelling_batch: int = option(
        "integer",
        default=32,
        minimum=1,
        maximum=1024,
        label="Labelling batch",
        help="Inputs answered or judged at once.",
    )
    least_per_class: int = option(
        "integer",
        default=1,
        minimum=0,
        maximum=100_000,
        label="Least per class",
        help="If the answers are a few classes, the transfer stops where a class of the seeds gets fewer samples than "
        "this. 0 only warns.",
    )
    peft_type: str = option(
        "choice",
        default="lora",
        choices=PEFT_TYPES,
        label="Adapter",
        help="What is trained on the target. Published: lora and dora (and prompt tuning, which is not offered).",
    )
    rank: int = option(
        "integer",
        default=8,
        minimum=1,
        maximum=1024,
        label="Rank",
        help="Of the new adapter. The paper says default configuration, which was 8 at the time.",
    )
    alpha: float = option(
        "number",
        default=16.0,
        minimum=0.001,
        maximum=100_000.0,
        label="Alpha",
        help="Of the new adapter: a scale of 2 at rank 8. The paper says default configuration, which was 8.",
    )
    target_modules: str = targets_option("Modules")
    epochs: int = option(
        "integer",
        default=20,
        minimum=1,
        maximum=10_000,
        label="Epochs",
        help="Passes over the samples (published: 20, and 10 for MMLU).",
    )
    learning_rate: float = option(
        "number",
        default=2e-4,
        minimum=1e-7,
        maximum=1.0,
        label="Learning rate",
        help="AdamW without decay or warm-up, linear to zero. Published, for 7B and more: 2e-4 for MMLU, 2e-5 "
        "elsewhere; small targets need more.",
    )
    batch_size: int = option(
        "integer",
        default=8,
        minimum=1,
        maximum=1024,
        label="Batch",
        help="Rows per update (published: 8). If memory is short, the batch is split; its gradient stays the same.",
    )
    micro_batch: str = option(
        "string",
        default="auto",
        label="Rows at once",
        help="Rows in one pass of the model: a number, or auto, which halves it when memory runs out.",
    )
    holdout: float = option(
        "number",
        default=0.1,
        minimum=0.0,
        maximum=0.5,
        label="Held out",
        help="Share of the samples that early stopping is measured on; 0 turns it off, as published.",
    )
    patience: int = option(
        "integer",
        default=3,
        minimum=1,
        maximum=1000,
        label="Patience",
        help="Stop when the held-out loss has not fallen for this many epochs; the best epoch is kept.",
    )
    soft_targets: float = option(
        "number",
        default=0.0,
        minimum=0.0,
        maximum=1.0,
        label="Soft targets",
        help="Extension, for bases with the same tokenizer: weight of the divergence from the teacher's "
        "distributions; 0 is the published loss, on its text alone.",
    )
    precision: str = option(
        "choice",
        default="float32",
        choices=PRECISIONS,
        label="Precision",
        help="How the bases are loaded; int8 needs bitsandbytes and a GPU. On CPUs float32 is often the fastest.",
    )
    gradient_checkpointing: bool = option(
        "boolean",
        default=False,
        label="Gradient checkpointing",
        help="Recomputes activations in the backward pass: less memory, about a third more time.",
    )
    layout: str = layout_option()
    max_length: int = option(
        "integer",
        default=512,
        minimum=8,
        maximum=32_768,
        label="Longest row",
        help="In tokens; a longer row loses the beginning of its prompt.",
    )
    seed: int = seed_option()

    def __post_init__(self) -> None:
        SynthesisOptions.__post_init__(self)
        if self.layout == UNIFORM and self.peft_type not in PLAIN_TYPES:
            said = f"Layout: expected auto or compact, got uniform: {self.peft_type} is no plain LoRA."
            raise RecipeError("layout", said)
        rows = self.micro_batch
        if rows != "auto" and not (rows.isdecimal() and len(rows) < 10 and int(rows) > 0):
            said = f"Rows at once: expected auto or a whole number above 0, got {shorten(rows)}."
            raise RecipeError("micro_batch", said)

    def check_parties(self, seeds: int, discriminator: bool) -> None:
        """Refuse a transfer without seeds, or without the discriminator if that is the filter.

        Errors: `transfer.no_seeds`, `transfer.no_discriminator`.
        """
        check_seeds(seeds)
        if self.filter == DISCRIMINATOR and not discriminator:
            raise CompositionError(
                "transfer.no_discriminator",
                "This adapter has no discriminator, which filter=discriminator needs. Train one from real inputs, "
                "or use filter=token-score, which needs no real data.",
            )

    def warnings(self, seeds: int) -> list[str]:
        """What the user should know before the job starts."""
        if seeds < USUAL_SEEDS:
            return [
                f"{seeds} seed examples; the paper uses {USUAL_SEEDS}, and 15 where a task is easily misunderstood."
            ]
        return []


METHODS = (
    Method(
        kind="trans-lora",
        verb="transfer",
        label="Trans-LoRA",
        summary="The target invents inputs, a discriminator keeps those like the task's, the source answers, and a "
        "new adapter learns from the answers.",
        recipe=TransLoraRecipe,
        function="transfer.pipeline:transfer",
        needs=Needs(min_inputs=1, max_inputs=1, base_model=True, device="any"),
        paper="https://arxiv.org/abs/2405.17258",
    ),
)
