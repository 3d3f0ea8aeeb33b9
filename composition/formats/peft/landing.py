"""Which key of peft each tensor of a file fills on a base, and in which shape. Torch-free, from the header alone.

Most arrive under their own name. For a base whose modules transformers 5 renamed or fused, peft's rules move them
(`conversions`), and the factors of many experts become one:

    A of w1, w3: [r, in] each of E experts   →  [E · 2r, in]        B: [out, r]  →  [2 · out, 2r · E]
    A of w2: [r, in]                         →  [E · r, in]         B: [out, r]  →  [out, r · E]
"""

from collections.abc import Sequence
from dataclasses import dataclass

from composition.base_shapes import BaseShapes
from composition.errors import CompositionError
from composition.formats.peft.conversions import MERGES, Landing
from composition.formats.peft.matching import does_not_load
from composition.formats.safetensors_header import SafetensorsHeader, TensorInfo
from composition.formats.strict_json import shorten


@dataclass(frozen=True, slots=True)
class Arrival:
    """A key, the tensor that fills it, and the file's names it is made of."""

    name: str
    tensor: TensorInfo
    stored: Sequence[str]


def arrivals(header: SafetensorsHeader, base: BaseShapes | None, *, file: str) -> list[Arrival]:
    """All tensors of a file. Raises `adapter.tensor_twice`, and `adapter.does_not_load` for experts that differ."""
    rules = base.layout.rules if base is not None else None
    if rules is None:
        return [Arrival(name, tensor, (name,)) for name, tensor in header.tensors.items()]
    landed, lost = rules.land(header.tensors)
    if lost:
        raise CompositionError(
            "adapter.tensor_twice",
            f"{file} holds {shorten(lost[0])} and another tensor that peft puts in the same place. "
            "Save the adapter again.",
            file=file,
            tensors=lost[:3],
        )
    there = [Arrival(name, tensor, (name,)) for name, tensor in header.tensors.items() if ".lora_" not in name]
    return there + [Arrival(key, _made(key, landing, header), landing.names) for key, landing in landed.items()]


def _made(key: str, landing: Landing, header: SafetensorsHeader) -> TensorInfo:
    """The tensor that a landing makes, without a place in the file where it is made of several."""
    if landing.rule is None:
        return header.tensors[landing.names[0]]
    parts = {source: [header.tensors[name] for name in names] for source, names in landing.sources.items()}
    dtypes = {tensor.dtype for tensors in parts.values() for tensor in tensors}
    shapes = [{tensor.shape for tensor in tensors} for tensors in parts.values()]
    experts = {len(tensors) for tensors in parts.values()}
    plain = landing.rule["kind"].startswith(MERGES) and all(len(shape) == 1 for shape in shapes)
    if not plain or len(experts) != 1 or len(dtypes) != 1 or any(len(next(iter(shape))) != 2 for shape in shapes):
        raise does_not_load(
            f"{key} would be made of {len(landing.names)} tensors of different shapes, such as "
            f"{shorten(landing.names[0])}",
            "Adapt every expert of a layer with one rank.",
            tensors=landing.names[:3],
        )
    (count,) = experts
    matrices = [next(iter(shape)) for shape in shapes]
    if "FlattenDims" in landing.rule["kind"] and "PermuteDims" not in landing.rule["kind"]:
        made = (count * sum(rows for rows, _ in matrices), matrices[0][1])
    else:
        made = (sum(rows for rows, _ in matrices), sum(columns for _, columns in matrices) * count)
    return TensorInfo(dtypes.pop(), made, 0, 0)
