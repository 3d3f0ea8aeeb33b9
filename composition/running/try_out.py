"""One prompt answered token by token, so that a user can watch: greedy, or drawn with a seed.

The prompt is read at once, each further token on top of the key/value cache. `hear` is told every piece of text as it
is written; an exception from it ends the answer, which is how a trial is cancelled. Of a mixture the routing of every
token is kept on the way: what served it when it was read, not what a second reading would say.
"""

import inspect
import time
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import torch

from composition.errors import CompositionError
from composition.progress import Progress, ignore
from composition.recipes import TryRecipe
from composition.running.prompting import Prompting, last_piece


class Hear(Protocol):
    """Called with each new piece of the answer ("" while a character is incomplete) and the tokens so far."""

    def __call__(self, piece: str, tokens: int) -> None: ...


def silent(piece: str, tokens: int) -> None:
    """The default: do nothing with it."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The text with its figures; `first_seconds` until the first token, `ended` is "stop" or "length".

    `routing` is `composition.moe.routing.token_table` of prompt and answer, None if the model is not a mixture.
    """

    text: str
    tokens: int
    prompt_tokens: int
    seconds: float
    first_seconds: float
    ended: str
    routing: dict[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON form, with `tokens_per_second` after the first token beside the fields."""
        later = self.seconds - self.first_seconds
        rate = round((self.tokens - 1) / later, 2) if self.tokens > 1 and later > 0 else None
        return {**asdict(self), "tokens_per_second": rate}


def try_out(
    model: Any, tokenizer: Any, recipe: TryRecipe, *, hear: Hear = silent, progress: Progress = ignore
) -> Answer:
    """Let `model`, with whatever adapter the caller attached, answer the recipe's text.

    It is put in eval mode for the time and left as it was. Errors: `try.too_long`, `try.virtual_tokens`.
    """
    prompting = Prompting(tokenizer, getattr(model, "generation_config", None))
    prompt = prompting.prompt(recipe.text)
    most = min(recipe.max_new_tokens, _room(model, prompt))
    training = model.training
    try:
        model.eval()
        with torch.inference_mode():
            return _answer(model, prompting, prompt, recipe, most, hear, progress)
    finally:
        model.train(training)


def check_length(model: Any, tokenizer: Any, recipe: TryRecipe) -> None:
    """Refuse what `try_out` would refuse, before the answer starts."""
    _room(model, Prompting(tokenizer, getattr(model, "generation_config", None)).prompt(recipe.text))


def _answer(
    model: Any, prompting: Prompting, prompt: list[int], recipe: TryRecipe, most: int, hear: Hear, progress: Progress
) -> Answer:
    from composition.moe.lora_moe_peft import record_routing
    from composition.moe.routing import token_table

    start = time.monotonic()
    generator = torch.Generator().manual_seed(recipe.seed)
    reader, written, first, ended = _Reader(model), [], 0.0, "length"
    with record_routing(model) as routing:
        logits = reader.read(prompt)
        for number in range(1, most + 1):
            token = _pick(logits, recipe.temperature, generator)
            first = first or time.monotonic() - start
            if token in prompting.stop:
                ended = "stop"
                break
            written.append(token)
            hear(last_piece(prompting.tokenizer, written), len(written))
            progress(number / most, f"{number} tokens")
            if routing or number < most:
                logits = reader.read([token])
        seconds = time.monotonic() - start
        seen = reader.cache is not None and any(routing.kept.values())
        table = token_table(model, prompting.tokenizer, routing, prompt, written) if seen else None
    return Answer(prompting.text(written), len(written), len(prompt), seconds, first, ended, table)


class _Reader:
    """Reads ids one after the other; holds the cache, or all ids where the model keeps none."""

    def __init__(self, model: Any) -> None:
        self.model, self.cache, self.before = model, None, list[int]()
        self.device = next(model.parameters()).device
        keeps = "logits_to_keep" in inspect.signature(_inner(model).forward).parameters
        self.last_only = {"logits_to_keep": 1} if keeps else {}

    def read(self, ids: list[int]) -> torch.Tensor:
        """Logits [vocabulary] after the last of these ids."""
        self.before += ids
        given = torch.tensor([self.before if self.cache is None else ids], device=self.device)
        output = self.model(input_ids=given, past_key_values=self.cache, use_cache=True, **self.last_only)
        self.cache = getattr(output, "past_key_values", None)
        return output.logits[0, -1]


def _pick(logits: torch.Tensor, temperature: float, generator: torch.Generator) -> int:
    if temperature == 0:
        return int(logits.argmax())
    chances = torch.softmax(logits.double().cpu() / temperature, 0)
    return int(torch.multinomial(chances, 1, generator=generator))


def _room(model: Any, prompt: list[int]) -> int:
    """How many tokens the base can read after the prompt. Refuses prompts that leave none, and virtual tokens."""
    for config in getattr(model, "peft_config", {}).values():
        if getattr(config, "is_prompt_learning", False):
            raise CompositionError(
                "try.virtual_tokens",
                "This adapter adds virtual tokens to the prompt, which a trial can't do token by token. "
                "Load it with PEFT and use generate.",
            )
    longest = getattr(_inner(model).config, "max_position_embeddings", None) or 1 << 20
    if len(prompt) >= longest:
        raise CompositionError(
            "try.too_long",
            f"The prompt, its full text included, has {len(prompt)} tokens; the base reads {longest}, answer "
            "included. Shorten it.",
            tokens=len(prompt),
            longest=longest,
        )
    return longest - len(prompt)


def _inner(model: Any) -> Any:
    return model.get_base_model() if hasattr(model, "get_base_model") else model
