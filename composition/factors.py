"""The one unit of data: a LoRA as an immutable mapping, module name → Factors(A, B, scale), with ΔW = scale · B @ A.

Entries are read when they are asked for, in the dtype they are stored in, so that a method which walks module by
module holds one module. Others import all this from `composition.weights`.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from composition.errors import CompositionError
from composition.facts import AdapterFacts, ModuleFacts

DTYPES = {torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}


@dataclass(frozen=True, slots=True)
class Factors:
    """A: [r, in], B: [out, r], and the scale s of ΔW = s · B @ A: [out, in]."""

    A: Tensor
    B: Tensor
    scale: float = 1.0

    def __post_init__(self) -> None:
        if self.A.ndim != 2 or self.B.ndim != 2 or self.A.shape[0] != self.B.shape[1]:
            raise CompositionError(
                "weights.shape",
                f"A is {list(self.A.shape)} and B is {list(self.B.shape)}; expected [r, in] and [out, r] with one r. "
                "Check which factor is which.",
            )
        if not math.isfinite(self.scale):
            raise CompositionError("weights.scale", f"The scale is {self.scale}; expected a finite number.")

    @property
    def rank(self) -> int:
        return self.A.shape[0]

    @property
    def in_features(self) -> int:
        return self.A.shape[1]

    @property
    def out_features(self) -> int:
        return self.B.shape[0]

    def balanced(self) -> tuple[Tensor, Tensor]:
        """(√|s|·A, sign(s)·√|s|·B) in float32: the same ΔW with scale 1."""
        root = math.sqrt(abs(self.scale))
        return self.A.float() * root, self.B.float() * math.copysign(root, self.scale)

    def delta(self) -> Tensor:
        """ΔW = s · B @ A: [out, in], dense, in float32 or the wider stored dtype. For tests and single modules only."""
        dtype = torch.promote_types(self.A.dtype, torch.float32)
        return (self.B.to(dtype) @ self.A.to(dtype)) * self.scale

    def facts(self) -> ModuleFacts:
        """Rank, features and scale."""
        return ModuleFacts(
            r=self.rank, in_features=self.in_features, out_features=self.out_features, scale=float(self.scale)
        )


@dataclass(frozen=True, slots=True)
class LazyFactors:
    """An entry that is read on demand; its facts and dtype are known beforehand."""

    facts: ModuleFacts
    dtype: torch.dtype
    load: Callable[[], Factors]


class LoraWeights(Mapping[str, Factors]):
    """A LoRA adapter: an immutable mapping, sorted by module name, whose entries may be read lazily.

    `base_model` is the base's id, never a path. `target_modules` are the config's own suffixes where they pick exactly
    these modules. `name` is how messages call the adapter. `fan_in_fan_out` says how the base stores its weights
    (Conv1D); A and B are oriented alike either way.
    """

    def __init__(
        self,
        modules: Mapping[str, Factors | LazyFactors],
        *,
        base_model: str | None = None,
        name: str | None = None,
        task_type: str | None = None,
        target_modules: tuple[str, ...] | None = None,
        fan_in_fan_out: bool = False,
    ) -> None:
        self._modules = dict(sorted(modules.items()))
        self.base_model = base_model
        self.name = name
        self.task_type = task_type
        self.target_modules = target_modules
        self.fan_in_fan_out = fan_in_fan_out

    def __getitem__(self, module: str) -> Factors:
        entry = self._modules[module]
        return entry.load() if isinstance(entry, LazyFactors) else entry

    def __iter__(self) -> Iterator[str]:
        return iter(self._modules)

    def __len__(self) -> int:
        return len(self._modules)

    def __contains__(self, module: object) -> bool:
        return module in self._modules

    def __repr__(self) -> str:
        return f"LoraWeights({self.name or self.base_model or 'adapter'}, {len(self)} modules)"

    def module_facts(self, module: str) -> ModuleFacts:
        """Rank, features and scale of one module, without reading its weights."""
        entry = self._modules[module]
        return entry.facts if isinstance(entry, LazyFactors) else entry.facts()

    def module_dtype(self, module: str) -> torch.dtype:
        """The stored dtype of one module (the wider of A and B), without reading its weights."""
        entry = self._modules[module]
        return entry.dtype if isinstance(entry, LazyFactors) else torch.promote_types(entry.A.dtype, entry.B.dtype)

    @property
    def dtype(self) -> torch.dtype:
        """The widest dtype stored."""
        widest = torch.float16 if len(self) == 0 else self.module_dtype(next(iter(self)))
        for module in self:
            widest = torch.promote_types(widest, self.module_dtype(module))
        return widest

    def facts(self) -> AdapterFacts:
        """What recipes check, from shapes alone."""
        modules = {module: self.module_facts(module) for module in self}
        parameters = sum(m.r * (m.in_features + m.out_features) for m in modules.values())
        return AdapterFacts(
            peft_type="LORA",
            modules=modules,
            dtype=DTYPES.get(self.dtype, str(self.dtype)),
            parameters=parameters,
            bytes=parameters * self.dtype.itemsize,
            target_modules=sorted({module.rpartition(".")[2] for module in modules}),
            task_type=self.task_type,
            base_model_name=self.base_model,
        )
