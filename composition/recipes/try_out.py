"""The recipe of a trial: one prompt, answered with an adapter and, to compare, by the base without and with a text."""

from dataclasses import dataclass, replace
from typing import ClassVar

from composition.errors import RecipeError
from composition.recipes.base import Inputs, Recipe, option
from composition.recipes.method import Method, Needs

MOST_CHARACTERS = 200_000


@dataclass(frozen=True, slots=True, kw_only=True)
class TryRecipe(Recipe):
    """Answer a prompt, token by token."""

    kind: ClassVar[str] = "try"

    prompt: str = option(
        "string",
        default="",
        label="Prompt",
        help="What the model is asked; the user's turn if the base has a chat template.",
    )
    context: str | None = option(
        "string",
        default=None,
        label="Full text",
        help="Compare with the text itself: the base answers once more, with this text before the prompt.",
    )
    max_new_tokens: int = option(
        "integer", default=128, minimum=1, maximum=2048, label="New tokens", help="Longest answer, in tokens."
    )
    temperature: float = option(
        "number",
        default=0.0,
        minimum=0.0,
        maximum=10.0,
        label="Temperature",
        help="0 takes the likeliest token each time; 1 draws from the model's own probabilities.",
    )
    seed: int = option(
        "integer", default=0, minimum=0, maximum=2**53, label="Seed", help="The same seed draws the same answer."
    )
    compare: bool = option(
        "boolean", default=True, label="Also without", help="Let the base answer without the adapter, too."
    )

    def __post_init__(self) -> None:
        Recipe.__post_init__(self)  # not super(): slots=True makes a new class, which super() does not know
        for name, text in (("prompt", self.prompt), ("context", self.context or "")):
            if len(text) > MOST_CHARACTERS:
                raise RecipeError(
                    name,
                    f"The {name} has {len(text):,} characters; at most {MOST_CHARACTERS:,} are allowed. Shorten it.",
                )

    def check(self, inputs: Inputs) -> None:
        if not self.prompt.strip():
            raise RecipeError("prompt", "The prompt is empty. Write something to answer.")

    @property
    def text(self) -> str:
        """What is asked: the context, if there is one, and the prompt, with an empty line between."""
        return f"{self.context}\n\n{self.prompt}" if self.context else self.prompt

    def bare(self) -> "TryRecipe":
        """The same without the context: what the adapter is asked, and the base it is compared with."""
        return replace(self, context=None)


METHODS = (
    Method(
        kind="try",
        verb="try",
        label="Trial",
        summary="Answers one prompt with the adapter and, to compare, without it.",
        recipe=TryRecipe,
        function="composition.running.try_out:try_out",
        needs=Needs(min_inputs=1, max_inputs=1, base_model=True, device="any"),
        result="answer",
    ),
)
