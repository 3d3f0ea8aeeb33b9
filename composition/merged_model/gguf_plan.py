"""What becomes of each tensor of a GGUF base under a LoRA, decided from heads alone; `into_gguf` writes it."""

import math
from collections import Counter
from dataclasses import dataclass, field, replace

from .adapter import Adapter, LowRank
from .gguf_file import GgufModel, GgufTensor
from .gguf_names import HEAD, ORDERS, TABLE, name_map, needs_order, tensor_of
from .refusal import ExportRefused
from .stored import Stored

DTYPES = {"f32": 0, "f16": 1}
PLAIN = {0: 4, 1: 2, 30: 2}
"""ggml's type → bytes a value: F32, F16, BF16."""
FILE_TYPES = {0: 0, 1: 1, 30: 32}
"""ggml's type → llama.cpp's general.file_type of a file that is mostly that."""
ELSE = (
    "Merge into the original base's folder instead, and convert that with llama.cpp: "
    "hubctl export merged NAME --base-folder FOLDER --to MERGED, then "
    "python convert_hf_to_gguf.py MERGED --outtype f16 --outfile MERGED.gguf."
)


@dataclass(slots=True)
class Change:
    """What becomes of one tensor: `whole` instead of it, or ΔW of `low`, or the bias of `low`, added to it."""

    heads: int = 0
    low: LowRank | None = None
    bias: LowRank | None = None
    whole: Stored | None = None


@dataclass
class GgufPlan:
    """The result's tensors in the base's order; of those in `changes` the bytes differ."""

    base: GgufModel
    tensors: list[GgufTensor]
    changes: dict[str, Change] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """Bytes of all tensors."""
        return sum(tensor.size for tensor in self.tensors)

    @property
    def notes(self) -> list[str]:
        """What a user should know."""
        fresh = [tensor.kind for tensor in self.tensors if self.base.tensors[tensor.name].kind not in PLAIN]
        count = sum(kind in PLAIN for kind in fresh)
        if not count:
            return []
        name = "float32" if DTYPES["f32"] in fresh else "float16"
        return [f"{count} tensors that the base has quantised are {name} here: ΔW would be lost in their steps."]

    @property
    def file_type(self) -> int | None:
        """llama.cpp's word for most of the numbers; None where that stays what the base says."""
        numbers: Counter[int] = Counter()
        for tensor in self.tensors:
            numbers[tensor.kind] += math.prod(tensor.shape)
        return FILE_TYPES.get(numbers.most_common(1)[0][0]) if self.changes else None


def make_gguf_plan(base: GgufModel, adapter: Adapter, dtype: str | None = None) -> GgufPlan:
    """Raises ExportRefused `architecture`, `gguf`, `not_in_base`, `shape`, `tied`, `method`."""
    changes = _Matcher(base, adapter).changes()
    tensors = [_typed(tensor, dtype) if tensor.name in changes else tensor for tensor in base.tensors.values()]
    return GgufPlan(base, tensors, changes)


def _typed(tensor: GgufTensor, dtype: str | None) -> GgufTensor:
    """A changed tensor with its type in the result. Biases stay float32, which llama.cpp wants of vectors."""
    kind = tensor.kind if tensor.kind in PLAIN else DTYPES["f16"]
    if dtype is not None and len(tensor.shape) > 1:
        kind = DTYPES[dtype]
    return replace(tensor, kind=kind, size=math.prod(tensor.shape) * PLAIN[kind])


class _Matcher:
    def __init__(self, base: GgufModel, adapter: Adapter) -> None:
        self.base, self.adapter = base, adapter
        self.architecture = str(base.values.get("general.architecture"))
        if self.architecture not in ORDERS:
            raise ExportRefused(
                "architecture",
                f"{base.path} is a {self.architecture} model, and how llama.cpp keeps its weights is not known here; "
                f"known are {', '.join(sorted(ORDERS))}. {ELSE}",
            )
        if base.values.get("split.count", 1) > 1:
            raise ExportRefused(
                "gguf",
                f"{base.path} is one part of a split model. Join it with llama.cpp first: "
                f"llama-gguf-split --merge {base.path} WHOLE.gguf",
            )
        self.names = name_map(self.architecture, self._number("block_count"))

    def changes(self) -> dict[str, Change]:
        found: dict[str, Change] = {}
        for module, low in self.adapter.low.items():
            name = self._tensor(module)
            self._check_shape(module, low.shape[::-1] if low.table else low.shape, f"{name}.weight")
            heads = self._heads(name)
            self._put(found, f"{name}.weight", Change(heads, low=low), module)
            if low.bias is not None:
                self._check_shape(module, low.shape[:1], f"{name}.bias")
                self._put(found, f"{name}.bias", Change(heads, bias=low), module)
        for own, stored in self.adapter.whole.items():
            module, _, last = own.rpartition(".")
            whole = tensor_of(self.names, module)
            if own in self.adapter.under and f"{whole}.weight" in found:
                self._check_shape(own, stored.shape, f"{whole}.weight")
                found[f"{whole}.weight"].whole = stored
                continue
            if whole not in (HEAD, TABLE) or last != "weight":
                raise ExportRefused(
                    "method", f"The adapter replaces {own}, and a GGUF file may hold that in another form. {ELSE}"
                )
            self._check_shape(own, stored.shape, f"{self._tensor(module)}.weight")
            self._put(found, f"{whole}.weight", Change(whole=stored), module)
        return found

    def _put(self, found: dict[str, Change], tensor: str, change: Change, module: str) -> None:
        if tensor in found:
            raise ExportRefused("ambiguous", f"{module} and another module of the adapter would both be {tensor}.")
        found[tensor] = change

    def _tensor(self, module: str) -> str:
        """llama.cpp's name without its ending; the base has its weight."""
        name = tensor_of(self.names, module)
        tied = f"{HEAD}.weight" not in self.base.tensors or self.adapter.config.get("ensure_weight_tying")
        if name in (HEAD, TABLE) and tied:
            raise ExportRefused(
                "tied",
                f"{module} is tied to another weight in {self.base.path}, and a file that keeps the two apart is not "
                f"read by llama.cpp for every architecture. {ELSE}",
            )
        if name is None or f"{name}.weight" not in self.base.tensors:
            raise ExportRefused(
                "not_in_base",
                f"{self.base.path} has no tensor of its own for {module} of the adapter. Give the base that the "
                f"adapter was trained on. If it is, {ELSE[0].lower()}{ELSE[1:]}",
            )
        return name

    def _check_shape(self, module: str, wanted: tuple[int, ...], tensor: str) -> None:
        there = self.base.tensors.get(tensor)
        if there is None or there.shape != wanted:
            raise ExportRefused(
                "shape",
                f"{module}: the adapter has {list(wanted)} and {tensor} of the base "
                f"{list(there.shape) if there else 'is missing'}. Give the base that the adapter was trained on.",
            )

    def _heads(self, name: str) -> int:
        """How many heads' rows stand in this weight, where their order is llama.cpp's own; else 0."""
        if not needs_order(ORDERS[self.architecture], name):
            return 0
        heads = self._number("attention.head_count")
        last = name.rpartition(".")[2]
        if last == "attn_k" and f"{self.architecture}.attention.head_count_kv" in self.base.values:
            heads = self._number("attention.head_count_kv")
        parts = heads * {"attn_qkv": 3}.get(last, 2)
        if self.base.tensors[f"{name}.weight"].shape[0] % parts:
            raise ExportRefused("gguf", f"{name} of {self.base.path} does not divide into {heads} heads. {ELSE}")
        return heads

    def _number(self, key: str) -> int:
        value = self.base.values.get(f"{self.architecture}.{key}")
        if not isinstance(value, int) or not 0 < value < 10_000:
            raise ExportRefused(
                "gguf", f"{self.base.path} says {value!r} as {self.architecture}.{key}; expected one number. {ELSE}"
            )
        return value
