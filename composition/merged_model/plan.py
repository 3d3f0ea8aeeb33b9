"""What a merge writes, tensor by tensor, decided from configs and headers alone: no weight is read, torch isn't needed.

Tied embeddings are the one place where peft's `merge_and_unload` leaves what the attached adapter computes: it adds
the ΔW of one to the weight that both share. Here the two are parted, as the attached adapter has them, and the config
says so; with `ensure_weight_tying` they stay one.
"""

import copy
import math
from array import array
from dataclasses import dataclass, field, replace
from typing import Any

from .adapter import Adapter, LowRank
from .base_folder import BaseFolder
from .names import HEADS, TABLES, BaseNames, last, match_all
from .refusal import ExportRefused
from .stored import FLOATS, Stored

CONV1D = ("gpt2", "openai-gpt", "imagegpt", "decision_transformer", "clvp", "convbert")
CONV1D_NAMES = ("c_attn", "c_proj", "c_fc", "q_attn")
WITH_HEAD = ("ForCausalLM", "LMHeadModel")


@dataclass(slots=True)
class Target:
    """One tensor of the result: `source`'s values in `dtype`, then ΔW. `transposed` where the base stores [in, out]."""

    name: str
    source: Stored
    dtype: str
    low: LowRank | None = None
    bias: LowRank | None = None
    transposed: bool = False

    @property
    def copied(self) -> bool:
        """Whether its bytes are the source's."""
        return self.low is None and self.bias is None and self.dtype == self.source.dtype

    @property
    def size(self) -> int:
        """Bytes in the result."""
        items = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}
        if self.dtype == self.source.dtype:
            return self.source.size
        return self.source.size // items[self.source.dtype] * items[self.dtype]


@dataclass
class Plan:
    """Shards by file name, each a list of targets; the result's config; what a user should know."""

    base: BaseFolder
    adapter: Adapter
    config: dict[str, Any]
    shards: dict[str, list[Target]]
    changed: int
    notes: list[str] = field(default_factory=list)

    @property
    def total(self) -> int:
        """Bytes of all tensors."""
        return sum(target.size for targets in self.shards.values() for target in targets)

    @property
    def more_numbers(self) -> int:
        """How many numbers the result has beyond the base: a parted head, a larger vocabulary."""
        ours = (target.source.shape for targets in self.shards.values() for target in targets)
        return sum(map(math.prod, ours)) - sum(math.prod(tensor.shape) for tensor in self.base.tensors.values())


def make_plan(base: BaseFolder, adapter: Adapter) -> Plan:
    """Raises ExportRefused `not_in_base`, `shape`, `dtype`, `ambiguous`, `tied`."""
    return _Planner(base, adapter).plan()


class _Planner:
    def __init__(self, base: BaseFolder, adapter: Adapter) -> None:
        self.base, self.adapter = base, adapter
        self.tensors = base.tensors
        self.names = BaseNames(self.tensors)
        self.config = copy.deepcopy(base.config)
        self.targets = {name: Target(name, tensor, tensor.dtype) for name, tensor in self.tensors.items()}
        self.added: dict[str, str] = {}  # new tensor → the shard it goes to
        self.notes: list[str] = []

    def plan(self) -> Plan:
        low, whole = self.adapter.low, self.adapter.whole
        wanted = [f"{module}.weight" for module in low] + list(whole)
        found = dict(match_all(dict.fromkeys(wanted), self.names))
        self._part_tied(found)
        lost = sorted(name for name, own in found.items() if own is None)
        if lost:
            raise ExportRefused(
                "not_in_base",
                f"{self.base.folder} has no tensor for {', '.join(lost[:3])}"
                f"{f' and {len(lost) - 3} more' if len(lost) > 3 else ''} of the adapter. "
                "Give the folder of the base that the adapter was trained on. A head that this architecture ties to "
                "its embedding, or one that only a task model has, can't be merged into this folder.",
            )
        for name, tensor in whole.items():
            self._replace(name, str(found[name]), tensor)
        for module, pair in low.items():
            self._add(module, str(found[f"{module}.weight"]), pair)
        shards = {shard: [self.targets[name] for name in held] for shard, held in self.base.shards.items()}
        for name, shard in self.added.items():
            shards[shard].append(self.targets[name])
        changed = sum(not t.copied or t.source.file != self.base.folder / s for s, ts in shards.items() for t in ts)
        return Plan(self.base, self.adapter, self.config, shards, changed, self.notes)

    def _replace(self, name: str, own: str, tensor: Stored) -> None:
        """A whole tensor of the adapter, cast to the base's dtype as `load_state_dict` does."""
        target = self.targets[own]
        if tensor.shape[1:] != target.source.shape[1:] or len(tensor.shape) != len(target.source.shape):
            raise _shape(name, tensor.shape, target.source.shape)
        if tensor.dtype != target.dtype and not {tensor.dtype, target.dtype} <= {*FLOATS}:
            raise _dtype(name, tensor.dtype)
        if tensor.shape[0] != target.source.shape[0]:
            self._resize(name, own, tensor.shape[0], target.source.shape[0])
        target.source = tensor

    def _resize(self, name: str, own: str, rows: int, before: int) -> None:
        """Another vocabulary: both tables must have it, and the config says so."""
        words = (*TABLES, *HEADS)
        if last(own.removesuffix(".weight")) not in words:
            raise _shape(name, (rows,), (before,))
        rows_of = {last(n.removesuffix(".weight")): t.shape[0] for n, t in self.adapter.whole.items()}
        sizes = {size for word, size in rows_of.items() if word in words}
        others = [n for n in self.targets if last(n.removesuffix(".weight")) in words]
        covered = all(last(n.removesuffix(".weight")) in rows_of for n in others)
        if len(sizes) > 1 or not covered:
            raise ExportRefused(
                "shape",
                f"{name} has {rows} rows and the base {before}, but not every table of the vocabulary has that many "
                "in the adapter. Give the folder of the base with its vocabulary resized: "
                "model.resize_token_embeddings(ROWS), then save_pretrained.",
            )
        config = self.config.get("text_config") if isinstance(self.config.get("text_config"), dict) else self.config
        assert config is not None
        config["vocab_size"] = rows
        self.notes.append(f"The vocabulary grows from {before} to {rows}, as in the adapter's {name}.")

    def _add(self, module: str, own: str, low: LowRank) -> None:
        target = self.targets[own]
        if target.dtype not in FLOATS:
            raise _dtype(own, target.dtype)
        out, width = low.shape
        shape = target.source.shape
        if low.table:
            if shape != (width, out):
                raise _shape(module, (width, out), shape)
        else:
            target.transposed = self._is_transposed(module, (out, width), shape)
        target.low = low
        if low.bias is not None:
            bias = self.names.find(f"{module}.bias")
            if bias is None:
                raise ExportRefused("not_in_base", f"{module} of the adapter has a bias and the base's has none.")
            self.targets[bias].bias = low

    def _is_transposed(self, module: str, wanted: tuple[int, ...], shape: tuple[int, ...]) -> bool:
        turned = shape == wanted[::-1] and str(self.config.get("model_type")) in CONV1D
        if turned and last(module) in CONV1D_NAMES:
            return True
        if shape != wanted:
            raise _shape(module, wanted, shape)
        return False

    def _part_tied(self, found: dict[str, str | None]) -> None:
        """Give head and embedding a tensor each where the base ties them and the adapter changes one or both."""
        heads = [name for name in found if last(name.removesuffix(".weight")) in HEADS]
        tables = [name for name in found if last(name.removesuffix(".weight")) in TABLES]
        if not heads and not tables:
            return
        own_head = next((n for n in self.tensors if last(n.removesuffix(".weight")) in HEADS), None)
        says = self.config.get("tie_word_embeddings", self.config.get("text_config", {}).get("tie_word_embeddings"))
        tied = says if says is not None else own_head is None
        architecture = str((self.config.get("architectures") or [""])[0])
        if not tied:
            return
        if not architecture.endswith(WITH_HEAD) or "text_config" in self.config:
            if heads or architecture.endswith(("ForConditionalGeneration", "ForMaskedLM", "ForPreTraining")):
                raise ExportRefused(
                    "tied",
                    f"{(heads or tables)[0]} is tied to another weight in {architecture or 'this base'}, and how to "
                    "part them is known for causal language models only. Merge it with peft and look at its warning.",
                )
            return
        table = self.names.table()
        if table is None:
            raise ExportRefused("tied", f"{self.base.folder} ties its head to an embedding that has an unknown name.")
        if self.adapter.config.get("ensure_weight_tying"):
            self._one_for_both(found, heads, tables, table)
            return
        head = own_head or ("embed_out.weight" if self.config.get("model_type") == "gpt_neox" else "lm_head.weight")
        if own_head is None:
            self.targets[head] = replace(self.targets[table], name=head)
            self.added[head] = self.base.shard_of(table)
        for name in heads:
            found[name] = head
        for name in self.adapter.under & {*heads, *tables}:
            # Loading puts it into the one weight that both share.
            for shared in (head, table):
                self._replace(name, shared, self.adapter.whole[name])
        self.config["tie_word_embeddings"] = False
        self.notes.append(
            "The base ties its head to its embedding and the adapter changes "
            f"{'both' if heads and tables else 'one of them'}: both are written, and the config says "
            "tie_word_embeddings false."
        )

    def _one_for_both(self, found: dict[str, str | None], heads: list[str], tables: list[str], table: str) -> None:
        """`ensure_weight_tying`: head and embedding are one, and the adapter may hold what it learned twice."""
        for name in heads:
            found[name] = table
        if not heads or not tables:
            return
        head = heads[0].removesuffix(".weight")
        low = self.adapter.low.pop(head, None)
        kept = self.adapter.low.get(tables[0].removesuffix(".weight"))
        whole, saved = self.adapter.whole.pop(heads[0], None), self.adapter.whole.get(tables[0])
        found.pop(heads[0])
        same = (low is None) == (kept is None) and (whole is None) == (saved is None)
        if same and low and kept:
            same = _turned(low.A, kept.B) and _turned(low.B, kept.A)
        if same and whole and saved:
            same = (whole.dtype, whole.shape, whole.data()) == (saved.dtype, saved.shape, saved.data())
        if not same:
            raise ExportRefused(
                "tied",
                f"The adapter says ensure_weight_tying, yet what it holds for {heads[0]} is not what it holds for "
                f"{tables[0]}. Save it again with peft 0.21 or newer.",
            )


def _turned(one: Stored | None, other: Stored | None) -> bool:
    """Whether one matrix is the other's transpose, bit by bit."""
    if one is None or other is None or one.dtype != other.dtype or one.shape != other.shape[::-1]:
        return False
    code = {8: "Q", 4: "I", 2: "H"}[one.size // (one.shape[0] * one.shape[1])]
    rows, columns = array(code, one.data()), array(code, other.data())
    count, width = one.shape
    return all(rows[row * width : (row + 1) * width] == columns[row::count] for row in range(count))


def _shape(name: str, given: tuple[int, ...], base: tuple[int, ...]) -> ExportRefused:
    return ExportRefused(
        "shape",
        f"{name}: the adapter has {list(given)} and the base {list(base)}. "
        "Give the folder of the base that the adapter was trained on.",
    )


def _dtype(name: str, dtype: str) -> ExportRefused:
    return ExportRefused(
        "dtype",
        f"{name} of the base is stored as {dtype}; ΔW is added to {', '.join(FLOATS)}. Give the base in 16 or 32 bits.",
    )
