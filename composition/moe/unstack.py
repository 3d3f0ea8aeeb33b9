"""An assembly taken apart: one expert cut out with its own bits, all experts again, or the sum of all as one LoRA.

`expert_of` gives what was stacked: rows offset_i … offset_i + r_i of A, the same columns of B, and s_i beside them.
`cat_of` is for servers that can't route (vLLM, GGUF): rank Σr, every expert at once for every token. It is the sum (or
mean) of the updates and behaves otherwise than the routed assembly; say so where it is offered.
"""

from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from composition.errors import CompositionError
from composition.facts import ModuleFacts
from composition.formats.mixture.config import AssemblyConfig, read_assembly_config
from composition.formats.peft.names import PREFIX, WEIGHTS_FILE
from composition.formats.safetensors_writer import TORCH_DTYPES
from composition.weights import Factors, LazyFactors, LoraWeights


class StoredAssembly:
    """A folder's stack, mapped: config, modules with their shapes, and slices of the tensors."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.config: AssemblyConfig = read_assembly_config(self.folder)
        path = self.folder / WEIGHTS_FILE
        try:
            self.source = safe_open(path, framework="pt")
        except (SafetensorError, OSError) as error:
            raise CompositionError(
                "assembly.broken",
                f"{path.name} of {self.folder.name} can't be read ({error}). Download it again.",
            ) from error
        self.keys = set(self.source.keys())
        ending = f".{self.config.prefix}A"
        start = len(PREFIX)
        self.modules = sorted(key[start : -len(ending)] for key in self.keys if key.endswith(ending))

    def shape(self, module: str, part: str) -> list[int]:
        """The shape of A, B, gate or bias."""
        return self._slice(module, part).get_shape()

    def dtype(self, module: str, part: str) -> torch.dtype:
        return TORCH_DTYPES[self._slice(module, part).get_dtype()]

    def tensor(self, module: str, part: str) -> Tensor:
        """The whole tensor."""
        self._slice(module, part)
        return self.source.get_tensor(self.config.key(module, part))

    def block(self, module: str, expert: int) -> Factors:
        """One expert's own factors."""
        begin, end = self.config.span(module, expert)
        A, B = self._slice(module, "A"), self._slice(module, "B")
        return Factors(A[begin:end, :], B[:, begin:end].contiguous(), self.config.scales(module)[expert])

    def _slice(self, module: str, part: str) -> Any:
        key = self.config.key(module, part)
        if key not in self.keys:
            raise CompositionError(
                "assembly.broken",
                f"{self.folder.name} lacks the tensor {key}. Download it again, or assemble it again.",
                tensor=key,
            )
        return self.source.get_slice(key)


def expert_of(folder: str | Path, name: str) -> LoraWeights:
    """One expert as it was stacked, read when asked for; `save_peft` writes it as a plain LoRA.

    Raises CompositionError `assembly.config`, `assembly.broken`, `assembly.no_expert`.
    """
    stored = StoredAssembly(folder)
    return _expert(stored, stored.config.index(name))


def experts_of(folder: str | Path) -> list[LoraWeights]:
    """All experts, in the order of the stack."""
    stored = StoredAssembly(folder)
    return [_expert(stored, number) for number in range(len(stored.config.experts))]


def cat_of(folder: str | Path, *, weight: float = 1.0) -> LoraWeights:
    """weight · Σ_i s_i B_i A_i as one plain LoRA of rank Σr, for every token alike; weight 1/n gives the mean.

    Where an expert's scale differs from its neighbours' in a module, it is folded into B, in float32.
    """
    stored = StoredAssembly(folder)
    modules = {}
    for module in stored.modules:
        scales = {s for s, r in zip(stored.config.scales(module), stored.config.ranks(module), strict=True) if r}
        scale = scales.pop() * weight if len(scales) == 1 else None
        fact = _facts(stored, module, sum(stored.config.ranks(module)), 1.0 if scale is None else scale)
        dtype = torch.float32 if scale is None else _dtype(stored, module)
        modules[module] = LazyFactors(fact, dtype, partial(_sum, stored, module, scale, weight))
    return _weights(stored, stored.folder.name, modules)


def _expert(stored: StoredAssembly, number: int) -> LoraWeights:
    modules = {}
    for module in stored.modules:
        rank, scale = stored.config.ranks(module)[number], stored.config.scales(module)[number]
        if rank:
            load = partial(stored.block, module, number)
            modules[module] = LazyFactors(_facts(stored, module, rank, scale), _dtype(stored, module), load)
    return _weights(stored, stored.config.names[number], modules)


def _sum(stored: StoredAssembly, module: str, scale: float | None, weight: float) -> Factors:
    """The stack of one module with its common scale, or with weight and scales folded into B."""
    A, B = stored.tensor(module, "A"), stored.tensor(module, "B")
    if scale is not None:
        return Factors(A, B, scale)
    ranks = torch.tensor(stored.config.ranks(module))
    scales = torch.tensor(stored.config.scales(module)).repeat_interleave(ranks)
    return Factors(A.float(), B.float() * (scales * weight), 1.0)


def _weights(stored: StoredAssembly, name: str, modules: dict[str, LazyFactors]) -> LoraWeights:
    raw = stored.config.raw
    return LoraWeights(
        modules, base_model=raw.get("base_model_name_or_path"), name=name, task_type=raw.get("task_type")
    )


def _facts(stored: StoredAssembly, module: str, rank: int, scale: float) -> ModuleFacts:
    width, height = stored.shape(module, "A")[1], stored.shape(module, "B")[0]
    return ModuleFacts(r=rank, in_features=width, out_features=height, scale=scale)


def _dtype(stored: StoredAssembly, module: str) -> torch.dtype:
    return torch.promote_types(stored.dtype(module, "A"), stored.dtype(module, "B"))
