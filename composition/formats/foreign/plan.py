"""A foreign adapter understood: its modules, their factors, and the PEFT files that say the same.

    folder of another tool → Plan → adapter_config.json, adapter_model.safetensors

A plan is made from headers and configs alone; weights are read one tensor at a time when the files are written. The
same originals and the same base make the same bytes. Torch-free.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn, Self

from composition.errors import CompositionError
from composition.facts import ModuleFacts
from composition.formats.foreign.parts import WIDTHS, Originals, Part
from composition.formats.peft.names import CONFIG_FILE, PREFIX, WEIGHTS_FILE, factor_names
from composition.formats.peft.plain_config import plain_config
from composition.formats.safetensors_header import write_header
from composition.formats.sources import Files, MemoryFile
from composition.formats.strict_json import shorten

Shapes = Mapping[str, Sequence[int]]


@dataclass(frozen=True, slots=True)
class Base:
    """What is known of the base: its id, {module: [out, in]}, and its config.json; None where it isn't known."""

    name: str | None = None
    shapes: Shapes | None = None
    config: Mapping[str, Any] | None = None

    @classmethod
    def of(cls, shapes: Shapes | None) -> Self:
        """A base of which only the shapes are known, and its config where they carry it."""
        return cls(shapes=shapes, config=getattr(shapes, "config", None) or None)

    @property
    def modules(self) -> Shapes:
        """The shapes; none where they aren't known."""
        return self.shapes or {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Lora:
    """One module: A [r, in], B [out, r] (a convolution [r, in, k, k], [out, r, 1, 1]), ΔW = scale · B @ A.

    `table` says that it adapts an embedding; `magnitude` is DoRA's, [out].
    """

    module: str
    A: Part
    B: Part
    scale: float
    table: bool = False
    magnitude: Part | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """`label` names the tool, `originals` the files that were read, `warnings` what the user should know."""

    label: str
    originals: tuple[str, ...]
    loras: tuple[Lora, ...]
    base_name: str | None = None
    task_type: str | None = "CAUSAL_LM"
    warnings: tuple[str, ...] = ()
    suffixes: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        if not self.loras:
            refuse("no_factors", self.label, "it holds no factors", "Save it again.")
        seen: set[str] = set()
        for lora in self.loras:
            if lora.module in seen:
                refuse("tensor_twice", self.label, f"two pairs adapt {lora.module}", "Save it again.")
            seen.add(lora.module)

    def config(self) -> bytes:
        """The adapter_config.json."""
        facts = {}
        for lora in self.loras:
            out, into = lora.B.shape[0], lora.A.shape[1]
            facts[lora.module] = ModuleFacts(r=lora.A.shape[0], in_features=into, out_features=out, scale=lora.scale)
        data = plain_config(facts, base_model=self.base_name, task_type=self.task_type, suffixes=self.suffixes)
        if not any(lora.magnitude for lora in self.loras):
            return data
        return (json.dumps({**json.loads(data), "use_dora": True}, indent=2, sort_keys=True) + "\n").encode()

    def tensors(self) -> Iterator[tuple[str, Part]]:
        """The made tensors by their PEFT names, in the order of the file."""
        for lora in sorted(self.loras, key=lambda one: one.module):
            sign = 0 if not lora.scale else int(math.copysign(1, lora.scale))
            a, b = factor_names(lora.module)
            if lora.table:
                a, b = (f"{PREFIX}{lora.module}.lora_embedding_{half}" for half in "AB")
            yield a, lora.A
            yield b, lora.B.signed(sign)
            if lora.magnitude:
                yield f"{PREFIX}{lora.module}.lora_magnitude_vector", lora.magnitude

    def header(self) -> bytes:
        """The weights' file up to its first tensor."""
        return write_header({name: (part.dtype, part.shape) for name, part in self.tensors()}, {"format": "pt"})

    @property
    def size(self) -> int:
        """Bytes of the made weights, the header aside."""
        return sum(math.prod(part.shape) * WIDTHS[part.dtype]().itemsize for _, part in self.tensors())

    def weights(self, files: Files) -> Iterator[bytes]:
        """The bytes of adapter_model.safetensors, a tensor at a time."""
        yield self.header()
        with Originals(files) as originals:
            for _, part in self.tensors():
                yield originals.values(part).tobytes()


def made_in_memory(plan: Plan, files: Files) -> dict[str, MemoryFile]:
    """Both PEFT files, for local use; the hub writes them to its disk."""
    return {CONFIG_FILE: MemoryFile(plan.config()), WEIGHTS_FILE: MemoryFile(b"".join(plan.weights(files)))}


def refuse(code: str, label: str, problem: str, do: str, **facts: object) -> NoReturn:
    """Raise `import.{code}`: what the tool's file says, and what to do."""
    raise CompositionError(f"import.{code}", f"This is an adapter of {label}: {problem}. {do}", format=label, **facts)


def check_lora(lora: Lora, label: str) -> Lora:
    """The same module where its factors fit together. Raises `import.shape`, `import.dtype`."""
    a, b = lora.A, lora.B
    for part in (a, b):
        if part.stored.dtype not in (*WIDTHS, "Q8_0"):
            refuse(
                "dtype",
                label,
                f"{shorten(part.stored.name)} is stored as {part.stored.dtype}; expected {', '.join(WIDTHS)}",
                "Save it as float16 or float32.",
                tensors=[part.stored.name],
            )
    fits = len(a.shape) == len(b.shape) and len(a.shape) >= 2 and a.shape[0] == b.shape[1] and all((*a.shape, *b.shape))
    if not fits or any(extent != 1 for extent in b.shape[2:]) or not math.isfinite(lora.scale):
        refuse(
            "shape",
            label,
            f"{lora.module} has the factors {list(a.stored.shape)} and {list(b.stored.shape)} and the scale "
            f"{lora.scale:g}, which don't make one update",
            "Save it again with the tool that trained it.",
            tensors=[a.stored.name, b.stored.name],
        )
    return lora


def suffixes_of(modules: Sequence[str], base: Base) -> tuple[str, ...]:
    """The modules' last names where these pick exactly the modules in the base; else none."""
    if base.shapes is None:
        return ()
    last = {module.rpartition(".")[2] for module in modules}
    picked = {name for name in base.shapes if name.rpartition(".")[2] in last}
    return tuple(sorted(last)) if picked == set(modules) else ()
