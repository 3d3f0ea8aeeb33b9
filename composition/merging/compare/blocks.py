"""Grams of two adapters, module by module: all that a comparison needs to know of a pair.

    A: Â_i Â_jᵀ [r_i, r_j],    B: B̂_iᵀ B̂_j [r_i, r_j]        (folded units: √|scale| on both halves, its sign on B)

They are facts of the two files, so they can be made once and kept: n adapters need the n (n + 1) / 2 unordered pairs,
each with itself too. Kept in float32: their entries are right to about 1e-7 of the units' norms. The bytes carry a
digest of their own, so that a damaged copy is known and made again.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from composition.merging.units import Units, module_names, pool, refuse_nonfinite, spans_of
from composition.progress import Progress, ignore
from composition.weights import LoraWeights

Pair = tuple[int, int]
Found = dict[tuple[int, int], tuple[list[str], list[np.ndarray]]]
MAGIC = b"adapter grams 1\n"
DIGEST = 32


@dataclass(frozen=True, slots=True)
class Run:
    """Modules in which two adapters have the same two ranks: `blocks` [M, 2, r_i, r_j] float32, A before B."""

    modules: tuple[str, ...]
    blocks: np.ndarray


@dataclass(frozen=True, slots=True)
class PairGrams:
    """The Grams of an ordered pair of adapters in the modules that both have, by ranks (r_i, r_j)."""

    runs: Mapping[tuple[int, int], Run]

    def turned(self) -> "PairGrams":
        """The same pair, the other adapter first."""
        return PairGrams({(j, i): Run(run.modules, run.blocks.swapaxes(2, 3)) for (i, j), run in self.runs.items()})

    def to_bytes(self) -> bytes:
        """The bytes to keep: a digest, a header in JSON, the numbers."""
        head = [[*ranks, list(run.modules)] for ranks, run in sorted(self.runs.items())]
        header = json.dumps(head, separators=(",", ":")).encode()
        blocks = [np.ascontiguousarray(run.blocks, "<f4").tobytes() for _, run in sorted(self.runs.items())]
        body = b"".join([MAGIC, len(header).to_bytes(8, "little"), header, *blocks])
        return hashlib.sha256(body).digest() + body

    @classmethod
    def from_bytes(cls, data: bytes) -> "PairGrams | None":
        """The inverse of `to_bytes`; None for bytes that are not whole."""
        body = memoryview(data)[DIGEST:]
        if hashlib.sha256(body).digest() != data[:DIGEST] or body[: len(MAGIC)] != MAGIC:
            return None
        begin = len(MAGIC) + 8
        end = begin + int.from_bytes(body[len(MAGIC) : begin], "little")
        numbers = np.frombuffer(body[end:], "<f4")
        runs, taken = {}, 0
        for i, j, modules in json.loads(bytes(body[begin:end])):
            shape = (len(modules), 2, i, j)
            size = len(modules) * 2 * i * j
            runs[i, j] = Run(tuple(modules), numbers[taken : taken + size].reshape(shape))
            taken += size
        return cls(runs)


def pair_grams(
    adapters: Sequence[LoraWeights], wanted: Collection[Pair] | None = None, *, progress: Progress = ignore
) -> dict[Pair, PairGrams]:
    """The Grams of the wanted pairs (i, j), i ≤ j, of all where none are named, in one pass over the modules.

    Raises CompositionError where a value is not finite.
    """
    count = len(adapters)
    pairs = sorted(wanted) if wanted is not None else [(i, j) for i in range(count) for j in range(i, count)]
    found: dict[Pair, Found] = {pair: {} for pair in pairs}
    names = [adapter.name or f"adapter {i}" for i, adapter in enumerate(adapters, 1)]
    modules = module_names(adapters)
    for done, module in enumerate(modules, 1):
        units = pool(adapters, module)
        here = [(i, j) for i, j in pairs if units.ranks[i] and units.ranks[j]]
        for pair, block in _blocks(units, here, names):
            listed, blocks = found[pair].setdefault((block.shape[1], block.shape[2]), ([], []))
            listed.append(module)
            blocks.append(block)
        progress(done / len(modules), f"Multiplied {done} of {len(modules)} modules")
    return {pair: _packed(runs) for pair, runs in found.items()}


def _blocks(units: Units, pairs: Sequence[Pair], names: Sequence[str]) -> Iterator[tuple[Pair, np.ndarray]]:
    """The blocks [2, r_i, r_j] of the pairs, in float32."""
    spans, rows = spans_of(units.ranks), _rows(pairs)
    gram_of: dict[tuple[int, int], Tensor] = {}
    for side, slices, dim in ((0, units.blocks_a(), 0), (1, units.blocks_b(), 1)):
        for _, block in slices:
            block = block.mT if dim else block
            for one, (first, last) in rows.items():
                product = block[spans[one]] @ block[spans[first].start : spans[last].stop].mT
                gram_of[side, one] = product.double() + gram_of.get((side, one), 0)
    folds = (units.fold, units.fold * units.sign)
    for (side, one), gram in gram_of.items():
        first, last = rows[one]
        gram *= torch.outer(folds[side][spans[one]], folds[side][spans[first].start : spans[last].stop])
        if not torch.isfinite(gram.sum()):
            refuse_nonfinite(units, names)
    for i, j in pairs:
        one, other = (i, j) if i in rows and rows[i][0] <= j <= rows[i][1] else (j, i)
        begin = spans[rows[one][0]].start
        columns = slice(spans[other].start - begin, spans[other].stop - begin)
        both = torch.stack([gram_of[side, one][:, columns] for side in (0, 1)]).float()
        yield (i, j), (both if one == i else both.mT).numpy()


def _rows(pairs: Sequence[Pair]) -> dict[int, tuple[int, int]]:
    """Adapters whose products with a run of others, from the first to the last of them, hold all pairs: few of them.

    One new adapter among many known ones is one such row.
    """
    left, rows = set(pairs), {}
    while left:
        degree = Counter(place for pair in left for place in set(pair))
        one = min(degree, key=lambda place: (-degree[place], place))
        others = [j if i == one else i for i, j in left if one in (i, j)]
        rows[one] = (min(others), max(others))
        left = {pair for pair in left if one not in pair}
    return rows


def _packed(runs: Found) -> PairGrams:
    return PairGrams({ranks: Run(tuple(modules), np.stack(blocks)) for ranks, (modules, blocks) in runs.items()})


@dataclass(frozen=True, slots=True)
class PooledGrams:
    """The Grams of all adapters in modules of equal ranks: `A` and `B` [M, R, R] float32; a rank of 0 is absent."""

    modules: tuple[str, ...]
    ranks: tuple[int, ...]
    A: Tensor
    B: Tensor

    @property
    def spans(self) -> list[slice]:
        """Where each adapter's units stand."""
        return spans_of(self.ranks)

    @property
    def member(self) -> Tensor:
        """[n, R] float32: 1 where a unit is an adapter's."""
        owner = torch.repeat_interleave(torch.arange(len(self.ranks)), torch.tensor(self.ranks))
        return torch.nn.functional.one_hot(owner, len(self.ranks)).mT.float()


def pooled(pairs: Mapping[Pair, PairGrams], modules: Sequence[str], ranks: tuple[int, ...]) -> PooledGrams:
    """The blocks of all pairs (i ≤ j) put together, for modules in which the adapters have these ranks."""
    count = sum(ranks)
    whole = np.zeros((2, len(modules), count, count), np.float32)
    spans = spans_of(ranks)
    for (i, j), grams in pairs.items():
        if not ranks[i] or not ranks[j]:
            continue
        run = grams.runs[ranks[i], ranks[j]]
        blocks = run.blocks
        if run.modules != tuple(modules):
            place = {module: index for index, module in enumerate(run.modules)}
            blocks = blocks[[place[module] for module in modules]]
        whole[:, :, spans[i], spans[j]] = blocks.swapaxes(0, 1)
        if i != j:
            whole[:, :, spans[j], spans[i]] = blocks.swapaxes(0, 1).swapaxes(2, 3)
    both = torch.from_numpy(whole)
    return PooledGrams(tuple(modules), ranks, both[0], both[1])
