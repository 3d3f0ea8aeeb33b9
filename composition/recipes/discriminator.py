"""The recipe of the discriminator of Trans-LoRA (arXiv:2405.17258), trained once and kept with an adapter."""

from dataclasses import dataclass
from typing import ClassVar

from composition.errors import CompositionError
from composition.recipes.base import option
from composition.recipes.method import Method, Needs
from composition.recipes.synthesis import SynthesisOptions, check_seeds, seed_option, targets_option


@dataclass(frozen=True, slots=True, kw_only=True)
class DiscriminatorRecipe(SynthesisOptions):
    """Learn, once per adapter, to tell real inputs from invented ones: argmax of log p(yes|x), log p(no|x')."""

    kind: ClassVar[str] = "discriminator"

    question: str = option(
        "choice",
        default="main",
        choices=("main", "appendix"),
        label="Question",
        help="main: {x} ⏎ Is the above question from NAME dataset? appendix: Answer in as few words as possible. {x} "
        "Is the above question from the NAME dataset?",
    )
    negatives: int | None = option(
        "integer",
        default=None,
        minimum=8,
        maximum=100_000,
        label="Invented inputs",
        help="How many inputs the source base invents to learn from; empty for as many as there are real ones.",
    )
    max_candidates: float = option(
        "number",
        default=6.0,
        minimum=1.0,
        maximum=1000.0,
        label="Candidates",
        help="Most candidates for each wanted input, duplicates and unreadable ones included.",
    )
    holdout: float = option(
        "number",
        default=0.2,
        minimum=0.05,
        maximum=0.5,
        label="Held out",
        help="Share of the real and of the invented inputs that is held out to measure on.",
    )
    least_recall: float = option(
        "number",
        default=0.8,
        minimum=0.0,
        maximum=1.0,
        label="Least recall",
        help="The discriminator is refused if it recognises less than this share of the held-out real inputs as "
        "real, because it would throw away good text.",
    )
    rank: int = option("integer", default=8, minimum=1, maximum=1024, label="Rank", help="Rank of its LoRA.")
    alpha: float = option(
        "number", default=16.0, minimum=0.001, maximum=100_000.0, label="Alpha", help="Alpha of its LoRA."
    )
    target_modules: str = targets_option("Modules")
    epochs: int = option(
        "integer", default=10, minimum=1, maximum=1000, label="Epochs", help="Passes over real and invented inputs."
    )
    steps: int | None = option(
        "integer",
        default=None,
        minimum=1,
        maximum=100_000,
        label="Steps",
        help="Training steps, instead of epochs; leave empty to use epochs.",
    )
    learning_rate: float = option(
        "number",
        default=5e-4,
        minimum=1e-7,
        maximum=1.0,
        label="Learning rate",
        help="AdamW without decay, linear to zero. The paper gives no rate for the discriminator.",
    )
    batch_size: int = option(
        "integer", default=8, minimum=2, maximum=512, label="Batch", help="Rows per step, half of them real."
    )
    max_length: int = option(
        "integer", default=512, minimum=8, maximum=32_768, label="Longest row", help="In tokens; longer inputs are cut."
    )
    seed: int = seed_option()
    split: str = option(
        "string",
        default="train",
        label="Split",
        help="Which file of the dataset holds the real inputs, without .jsonl.",
    )

    def check_data(self, real: int, seeds: int) -> None:
        """Refuse too few inputs to learn from. Errors: `discriminator.too_few_real`, `transfer.no_seeds`."""
        if real < 16:
            raise CompositionError(
                "discriminator.too_few_real",
                f"A discriminator learns from real inputs, and {real} were given; at least 16 are needed, 100 or more "
                "are better. Add rows, or transfer with filter=token-score, which needs none.",
                real=real,
            )
        check_seeds(seeds)


METHODS = (
    Method(
        kind="discriminator",
        verb="discriminator",
        label="Discriminator",
        summary="Learns, once, to tell an adapter's real inputs from invented ones; kept for all its transfers.",
        recipe=DiscriminatorRecipe,
        function="transfer.discriminator:train_discriminator",
        needs=Needs(min_inputs=1, max_inputs=1, base_model=True, device="any"),
        paper="https://arxiv.org/abs/2405.17258",
        result="companion",
    ),
)
