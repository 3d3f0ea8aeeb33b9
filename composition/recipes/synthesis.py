"""What every recipe that invents inputs shares: how a base writes more of a numbered list that seeds begin."""

from dataclasses import dataclass
from typing import Any

from composition.errors import CompositionError
from composition.recipes.base import Recipe, option

FEWEST_SEEDS, USUAL_SEEDS = 1, 5


def targets_option(label: str) -> Any:
    """The modules a new adapter sits on, as the paper has them."""
    return option(
        "string",
        default="q_proj,v_proj",
        label=label,
        help="Names of the modules, divided by commas (published: queries and values), or all-linear.",
    )


def seed_option() -> Any:
    """Everything that is drawn at random follows from it."""
    return option(
        "integer",
        default=0,
        minimum=0,
        maximum=2**32 - 1,
        label="Seed",
        help="Of all that is drawn: text, order, start.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class SynthesisOptions(Recipe):
    """How a base invents inputs like the seeds: numbered-list few-shot text, sampled in batches."""

    task: str = option(
        "string",
        default="",
        label="Task",
        help="The dataset's name in the discriminator's question, such as boolean expressions; empty for: this "
        "dataset.",
    )
    temperature: float = option(
        "number",
        default=0.7,
        minimum=0.05,
        maximum=2.0,
        label="Temperature",
        help="Of the invented inputs; the paper states none. Small bases drift off the task from 1.0 on.",
    )
    top_p: float = option(
        "number", default=0.95, minimum=0.05, maximum=1.0, label="Top-p", help="Of the invented inputs; 1 is off."
    )
    shots: int = option(
        "integer",
        default=5,
        minimum=1,
        maximum=32,
        label="Seeds a prompt",
        help="How many seeds are numbered in each synthesis prompt (published: 5), drawn anew, in a new order, per "
        "prompt.",
    )
    max_new_tokens: int = option(
        "integer",
        default=128,
        minimum=4,
        maximum=4096,
        label="New tokens",
        help="Of one continuation of the numbered list; each may hold several items.",
    )
    items: int = option(
        "integer",
        default=1,
        minimum=1,
        maximum=16,
        label="Items a continuation",
        help="How many of the next numbers are read from each continuation. Later ones are cheaper and less alike the "
        "seeds; published: the next one.",
    )
    similarity: float = option(
        "number",
        default=0.85,
        minimum=0.0,
        maximum=1.0,
        label="ROUGE-L ceiling",
        help="A candidate that is more alike than this (F-measure of the longest common subsequence of words) to one "
        "that is kept, or to a seed, is a duplicate. What all seeds open with is left out of the comparison. 1 drops "
        "only equal texts; Self-Instruct takes 0.7, too low for short templated inputs.",
    )
    synthesis_batch: int = option(
        "integer",
        default=32,
        minimum=1,
        maximum=1024,
        label="Synthesis batch",
        help="Continuations sampled at once. Part of what is drawn: another size gives other text.",
    )

    @property
    def named_task(self) -> str:
        """The dataset's name as the question has it."""
        return self.task.strip() or "this"


def check_seeds(seeds: int) -> None:
    """At least one seed. Error: `transfer.no_seeds`."""
    if seeds < FEWEST_SEEDS:
        raise CompositionError(
            "transfer.no_seeds",
            f"There is no seed example. Give about {USUAL_SEEDS} rows with a prompt (and, better, its completion) that "
            "are typical of the task and hold nothing private.",
        )
