"""What every recipe that invents inputs shares: how a base continues a numbered list that begins with the seeds."""

from dataclasses import dataclass
from typing import Any

from composition.errors import CompositionError
from composition.recipes.base import Recipe, option

FEWEST_SEEDS, USUAL_SEEDS = 1, 5


def targets_option(label: str) -> Any:
    """The field for the modules that a new adapter changes; the default is the paper's."""
    return option(
        "string",
        default="q_proj,v_proj",
        label=label,
        help="Names of the modules, separated by commas (published: queries and values), or all-linear.",
    )


def seed_option() -> Any:
    """The field for the seed that decides everything drawn at random."""
    return option(
        "integer",
        default=0,
        minimum=0,
        maximum=2**32 - 1,
        label="Seed",
        help="Decides everything that is drawn at random: text, order, start.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class SynthesisOptions(Recipe):
    """How a base invents inputs like the seeds: numbered-list few-shot text, sampled in batches."""

    task: str = option(
        "string",
        default="",
        label="Task",
        help="The dataset's name in the discriminator's question, such as boolean expressions; empty asks "
        "about 'this dataset'.",
    )
    temperature: float = option(
        "number",
        default=0.7,
        minimum=0.05,
        maximum=2.0,
        label="Temperature",
        help="Of sampling the inputs; the paper states none. From 1.0 on, small bases drift off the task.",
    )
    top_p: float = option(
        "number", default=0.95, minimum=0.05, maximum=1.0, label="Top-p", help="Of sampling the inputs; 1 turns it off."
    )
    shots: int = option(
        "integer",
        default=5,
        minimum=1,
        maximum=32,
        label="Seeds per prompt",
        help="How many seeds each synthesis prompt lists (published: 5); each prompt draws them anew, in a new order.",
    )
    max_new_tokens: int = option(
        "integer",
        default=128,
        minimum=4,
        maximum=4096,
        label="New tokens",
        help="Longest continuation of the numbered list, in tokens; it may hold several items.",
    )
    items: int = option(
        "integer",
        default=1,
        minimum=1,
        maximum=16,
        label="Items per continuation",
        help="How many items are read from each continuation. Later ones cost less but resemble the seeds less; "
        "published: only the next one.",
    )
    similarity: float = option(
        "number",
        default=0.85,
        minimum=0.0,
        maximum=1.0,
        label="ROUGE-L ceiling",
        help="A candidate that is more similar than this (F-measure of the longest common subsequence of words) to a "
        "seed or a kept candidate is a duplicate. The opening that all seeds share is not compared. 1 drops only equal "
        "texts; Self-Instruct uses 0.7, too low for short templated inputs.",
    )
    synthesis_batch: int = option(
        "integer",
        default=32,
        minimum=1,
        maximum=1024,
        label="Synthesis batch",
        help="Continuations sampled at once. It affects sampling: another size gives other text.",
    )

    @property
    def named_task(self) -> str:
        """The dataset's name as it is written in the question."""
        return self.task.strip() or "this"


def check_seeds(seeds: int) -> None:
    """At least one seed. Error: `transfer.no_seeds`."""
    if seeds < FEWEST_SEEDS:
        raise CompositionError(
            "transfer.no_seeds",
            f"No seed examples were given. Give about {USUAL_SEEDS} rows with a prompt (and ideally its completion) "
            "that are typical of the task and contain nothing private.",
        )
