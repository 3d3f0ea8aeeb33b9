"""The recipe that makes an adapter from a text by a generator (GenerativeAdapter, arXiv:2411.05877)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from composition.errors import CompositionError
from composition.recipes.base import Recipe, option
from composition.recipes.layout import BEFORE_LAYOUTS, layout_option
from composition.recipes.method import Method, Needs

VERB = "generate"
MODES = ("parallel", "sequential", "sequential-long", "concat")


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerateRecipe(Recipe):
    """A text becomes an adapter in one pass of the base over it."""

    kind: ClassVar[str] = "generate"
    version: ClassVar[int] = 2
    earlier: ClassVar[Mapping[int, Mapping[str, Any]]] = BEFORE_LAYOUTS

    mode: str = option(
        "choice",
        default="parallel",
        choices=MODES,
        label="Chunks",
        help="parallel: the bare base reads each chunk; texts add up in any order. sequential: each is read under the "
        "adapter of those before it. sequential-long: the same in constant memory. concat: one chunk.",
    )
    window: int = option(
        "integer",
        default=1024,
        minimum=8,
        maximum=131_072,
        label="Window",
        help="Longest chunk in tokens; chunks of a text are equally long.",
    )
    max_tokens: int = option(
        "integer",
        default=131_072,
        minimum=1,
        maximum=10_000_000,
        label="Longest text",
        help="In tokens; a longer text is refused before the work starts.",
    )
    strength: float = option(
        "number",
        default=1.0,
        minimum=0.01,
        maximum=10.0,
        label="Strength",
        help="What the adapter's scale is multiplied by. 1: as the generator learnt it, which recites the text best. "
        "With less, the model copies less where the text has no answer.",
    )
    dtype: str = option(
        "choice",
        default="float16",
        choices=("float16", "bfloat16", "float32"),
        label="Precision",
        help="How the adapter is stored.",
    )
    layout: str = layout_option()

    def check_text(self, text: str) -> None:
        """Refuse what is not text: `generate.empty`, `generate.binary`."""
        if not text.strip():
            raise CompositionError(
                "generate.empty", "The text is empty. Give the document that the adapter should know."
            )
        strange = sum(not (char.isprintable() or char.isspace()) or char == "�" for char in text)
        if "\0" in text or strange > max(8, len(text) // 50):
            raise CompositionError(
                "generate.binary",
                f"{strange:,} of {len(text):,} characters are not text: this is a binary file, or one in another "
                "encoding. Give plain text in UTF-8.",
            )

    def check_length(self, tokens: int, longest_chunk: int | None = None) -> None:
        """Refuse a text of too many tokens: `generate.too_long`. `longest_chunk` is the most the base can read."""
        if tokens > self.max_tokens:
            raise CompositionError(
                "generate.too_long",
                f"The text has {tokens:,} tokens; at most {self.max_tokens:,} are allowed. Shorten it "
                "or raise max_tokens.",
                tokens=tokens,
                limit=self.max_tokens,
            )
        chunk = tokens if self.mode == "concat" else min(tokens, self.window)
        if longest_chunk is not None and chunk > longest_chunk:
            raise CompositionError(
                "generate.too_long",
                f"A chunk would have {chunk:,} tokens, but the base reads at most {longest_chunk:,}. "
                f"Use mode parallel or sequential with a window of at most {longest_chunk}.",
                tokens=chunk,
                limit=longest_chunk,
            )


METHODS = (
    Method(
        kind="generate",
        verb="generate",
        label="GenerativeAdapter",
        summary="Turns a text into an adapter in one pass of the base over it, by a generator trained for that base.",
        recipe=GenerateRecipe,
        function="composition.generative.generate:generate",
        needs=Needs(min_inputs=0, max_inputs=0, base_model=True, device="any"),
        paper="https://arxiv.org/abs/2411.05877",
    ),
)
