"""Activation Grams: for every module, G = XᵀX / T of its inputs X [T, in] over the real tokens of a text.

Modules that are given one tensor (q, k and v; gate and up) share one Gram. Padding is left out, and so are logits.
Sums run in float32: on a processor numpy's product with its own transpose makes one half and copies it.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from composition.merging.calibrated.texts import Text
from composition.merging.calibrated.updates import added, module_of
from composition.progress import Progress, ignore
from composition.running.reading import keeps_logits
from composition.weights import LoraWeights


class Inputs:
    """A base's modules, each with the one whose input it shares; `even` says that some see loose tokens, as routed
    experts do, whose padding can't be told apart."""

    def __init__(self, model: Any, modules: Sequence[str]) -> None:
        self.model = model
        self.modules = {name: module_of(model, name) for name in modules}
        self.leaders = {name: name for name in modules}
        self.even = False
        self._probe()

    def _probe(self) -> None:
        """Read two tokens and note which modules are given the same tensor."""
        last: list[Any] = [None, ""]

        def note(name: str, x: Tensor) -> None:
            if x is last[0]:
                self.leaders[name] = last[1]
            else:
                last[:] = x, name
            if tuple(x.shape[:-1]) != (1, 2):
                self.even = True

        with self.watched(self.modules, note):
            forward(self.model, torch.zeros(1, 2, dtype=torch.long), logits=self.has_head)

    @property
    def has_head(self) -> bool:
        """Whether the output layer is among the modules, so that it has to see all tokens."""
        head = self.model.get_output_embeddings()
        return any(module is head for module in self.modules.values())

    def widths(self) -> dict[str, int]:
        """in features of each module that leads."""
        leaders = sorted(set(self.leaders.values()))
        return {name: _in_features(self.modules[name]) for name in leaders}

    @contextmanager
    def watched(self, names: Iterable[str], see: Any) -> Iterator[None]:
        """`see(name, input)` whenever one of these modules runs, for the time of the block."""

        def hook(name: str) -> Any:
            return lambda module, inputs: see(name, inputs[0])

        handles = [self.modules[name].register_forward_pre_hook(hook(name)) for name in names]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def grams(
        self, adapter: LoraWeights, text: Text, pad: int, names: Sequence[str], *, progress: Progress = ignore
    ) -> dict[str, Tensor]:
        """{leading module: G [in, in] float32, on the CPU} of these leaders under the adapter, over the text."""
        sums: dict[str, Tensor] = {}
        real: list[Tensor] = []

        def see(name: str, x: Tensor) -> None:
            rows = x.detach().reshape(-1, x.shape[-1])
            if not self.even:
                rows = rows[real[0].flatten().to(rows.device)]
            _accumulate(sums, name, rows.float())

        read = 0
        with added(self.model, adapter), self.watched(names, see):
            for ids, mask in text.batches(pad, even=self.even):
                real[:] = [mask]
                forward(self.model, ids, logits=self.has_head)
                read += len(ids)
                progress(read / len(text.rows), f"Read {read} of {len(text.rows)} rows")
        count = max(1, text.tokens)
        empty = {name: torch.zeros(width, width) for name, width in self.widths().items() if name in names}
        return empty | {name: (gram / count).cpu() for name, gram in sums.items()}


@torch.inference_mode()
def forward(model: Any, ids: Tensor, *, logits: bool = False) -> None:
    """Run the base over ids [rows, width]; with logits of the last token only, unless all are asked for."""
    few = {} if logits or not keeps_logits(model) else {"logits_to_keep": 1}
    model(input_ids=ids.to(next(model.parameters()).device), use_cache=False, **few)


def _accumulate(sums: dict[str, Tensor], name: str, rows: Tensor) -> None:
    """Add rowsᵀ rows, for rows [tokens, in]."""
    if rows.device.type != "cpu":
        made = rows.mT @ rows
    else:
        numbers = rows.numpy()
        made = torch.from_numpy(np.dot(numbers.T, numbers))
    if name in sums:
        sums[name] += made
    else:
        sums[name] = made


def _in_features(module: nn.Module) -> int:
    """Conv1D keeps its weight [in, out]."""
    weight = next(module.parameters())
    return weight.shape[1] if isinstance(module, nn.Linear) else weight.shape[0]


def parts_of(widths: Mapping[str, int], budget: int) -> list[list[str]]:
    """The modules in parts whose Grams, in float32, fit into `budget` bytes; one module at least."""
    parts: list[list[str]] = []
    held = 0
    for name, width in widths.items():
        size = 4 * width * width
        if not parts or held + size > budget:
            parts.append([])
            held = 0
        parts[-1].append(name)
        held += size
    return parts
