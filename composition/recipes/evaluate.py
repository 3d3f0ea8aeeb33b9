"""The recipe of an evaluation: which metrics, on which split, how many rows and tokens."""

from dataclasses import dataclass
from typing import ClassVar

from composition.recipes.base import Recipe, option
from composition.recipes.method import Method, Needs


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateRecipe(Recipe):
    """Measure an adapter, or the base alone, on a dataset of prompts and completions."""

    kind: ClassVar[str] = "evaluate"

    metrics: tuple[str, ...] = option(
        "choices",
        default=("nll", "exact_match"),
        choices=("nll", "exact_match", "choice"),
        label="Metrics",
        help="nll: negative log-likelihood per token. exact_match: greedy answer equals the completion. "
        "choice: the likeliest of the row's choices is the completion.",
    )
    split: str = option("string", default="test", label="Split", help="Which file of the dataset, without .jsonl.")
    limit: int | None = option(
        "integer",
        default=None,
        minimum=1,
        maximum=1_000_000_000,
        label="Rows",
        help="Use only this many rows, from the first; empty for all.",
    )
    max_new_tokens: int = option(
        "integer", default=16, minimum=1, maximum=1024, label="New tokens", help="Longest greedy answer, in tokens."
    )
    batch_size: int = option(
        "integer",
        default=16,
        minimum=1,
        maximum=512,
        label="Batch",
        help="Rows computed at once; changes speed, not results.",
    )


METHODS = (
    Method(
        kind="evaluate",
        verb="evaluate",
        label="Evaluation",
        summary="Measures an adapter on a dataset: likelihood, exact match, choice accuracy.",
        recipe=EvaluateRecipe,
        function="composition.running.evaluation:evaluate",
        needs=Needs(min_inputs=0, max_inputs=1, base_model=True, device="any"),
        result="evaluation",
    ),
)
