"""Reading a text: the base runs over its chunks, and each layer's input adds to that layer's state.

    concat           the whole text as one chunk
    parallel         every chunk by the bare base; the order of chunks does not matter
    sequential       chunk t by the base under the adapter of chunks 0 … t−1; all chunks go through a layer together, as
                     a layer's adapter needs only that layer's states
    sequential-long  the same chunk after chunk: memory does not grow with the text

No logits are computed. `parallel` reads a bounded number of tokens at a time, so its memory is bounded too.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from composition.chunking import chunks
from composition.generative.hooks import adapting, reading
from composition.generative.layer import Generator
from composition.generative.state import State
from composition.progress import Progress, ignore
from composition.recipes.generate import GenerateRecipe

TOKENS_AT_ONCE = 2048


@torch.no_grad()
def read(
    base: Any, generator: Generator, ids: Sequence[int], recipe: GenerateRecipe, *, progress: Progress = ignore
) -> State:
    """The state of a text of at least one token. Progress counts chunks."""
    device = next(base.parameters()).device
    generator.to(device)
    parts = chunks(ids, recipe.mode, recipe.window)
    empty = State.zero(generator)
    total = empty.S.to(device)
    if recipe.mode == "sequential":
        total = _one_pass(base, generator, *_padded(parts, device))
    else:
        at_once = 1 if recipe.mode == "sequential-long" else max(1, TOKENS_AT_ONCE // len(parts[0]))
        for first in range(0, len(parts), at_once):
            group = parts[first : first + at_once]
            if recipe.mode == "sequential-long" and first:
                with adapting(base, generator.config, adapter(generator, total.unsqueeze(0))):
                    states = layer_states(base, generator, *_padded(group, device))
            else:
                states = layer_states(base, generator, *_padded(group, device))
            total = total + states.sum(0)
            progress((first + len(group)) / len(parts), f"Chunk {first + len(group)} of {len(parts)}")
    return State(total.cpu(), len(ids), empty.generator)


def layer_states(base: Any, generator: Generator, ids: Tensor, mask: Tensor | None = None) -> Tensor:
    """S [N, L, R1, R2] of rows of tokens [N, T], padded on the right where the mask [N, T] is 0.

    The base runs without gradient; the generator's own part keeps one where gradients are on.
    """
    found: list[Tensor] = [torch.empty(0)] * len(generator.config.modules)
    wanted = torch.is_grad_enabled()

    def see(number: int, h: Tensor) -> None:
        with torch.set_grad_enabled(wanted):
            found[number] = generator.state(number, h, mask)

    with reading(base, generator.config, see):
        run(base, ids, mask)
    return torch.stack(found, dim=1)


def adapter(generator: Generator, states: Tensor) -> Callable[[int, Tensor], Tensor]:
    """`update` for `adapting`: row i of the batch runs under the adapter of row i of states [N or 1, L, R1, R2]."""
    directions = generator.directions(states)
    return lambda number, x: generator.update(number, x, directions[:, number])


@torch.no_grad()
def run(base: Any, ids: Tensor, mask: Tensor | None = None) -> Tensor:
    """The last hidden state [N, T, D]; neither cache nor logits."""
    return base.base_model(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state


def _one_pass(base: Any, generator: Generator, ids: Tensor, mask: Tensor | None) -> Tensor:
    """Σ of all chunks' states, chunk t of each layer under the adapter of the chunks before it in that layer."""
    config = generator.config
    totals: list[Tensor] = [torch.empty(0)] * len(config.modules)
    before: dict[int, Tensor] = {}

    def see(number: int, h: Tensor) -> None:
        states = generator.state(number, h, mask)
        sums = states.cumsum(0)
        totals[number] = sums[-1]
        before[number] = generator.directions(sums - states)  # Zero for the first chunk.

    def update(number: int, x: Tensor) -> Tensor:
        return generator.update(number, x, before.pop(number))

    with reading(base, config, see), adapting(base, config, update):
        run(base, ids, mask)
    return torch.stack(totals)


def _padded(parts: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, Tensor | None]:
    """(ids, mask) [N, T] padded on the right; no mask where all are equally long."""
    width = max(map(len, parts))
    ids = torch.tensor([[*part, *[0] * (width - len(part))] for part in parts], device=device)
    if all(len(part) == width for part in parts):
        return ids, None
    mask = torch.tensor([[1] * len(part) + [0] * (width - len(part)) for part in parts], device=device)
    return ids, mask
