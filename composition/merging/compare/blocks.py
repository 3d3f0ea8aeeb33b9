"""Grams of two adapters, module by module: all that a comparison needs to know of a pair.

    A: Â_i Â_jᵀ [r_i, r_j],    B: B̂_iᵀ B̂_j [r_i, r_j]        (folded units: √|scale| on both halves, its sign on B)

They are facts of the two files, so they can be made once and kept: n adapters need the n (n + 1) / 2 unordered pairs,
each with itself too. Kept in float32: their entries are right to about 1e-7 of the units' norms. The bytes carry a
digest of their own, so that a damaged copy is known and made again.
"""

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from composition.merging.units import module_names, pool, refuse_nonfinite
from composition.progress import Progress, ignore
from composition.weights import LoraWeights

Pair = tuple[int, int]
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
    """The Grams of the wanted pairs (i, j), all with i ≤ j where none are named, in one pass over the modules.

    Raises CompositionError where a value is not finite.
    """
    count = len(adapters)
    pairs = sorted(wanted) if wanted is not None else [(i, j) for i in range(count) for j in range(i, count)]
    partners: dict[int, list[int]] = {}
    for i, j in pairs:
        partners.setdefault(i, []).append(j)
    found: dict[Pair, dict[tuple[int, int], tuple[list[str], list[np.ndarray]]]] = {pair: {} for pair in pairs}
    names = [adapter.name or f"adapter {i}" for i, adapter in enumerate(adapters, 1)]
    modules = module_names(adapters)
    for done, module in enumerate(modules, 1):
        for i, others in partners.items():
            _add_products(found, module, adapters, i, others, names)
        progress(done / len(modules), f"Multiplied {done} of {len(modules)} modules")
    return {pair: _packed(runs) for pair, runs in found.items()}


def _add_products(
    found: dict[Pair, dict[tuple[int, int], tuple[list[str], list[np.ndarray]]]],
    module: str,
    adapters: Sequence[LoraWeights],
    i: int,
    others: Sequence[int],
    names: Sequence[str],
) -> None:
    """The blocks of adapter i with the others that have the module, by one product a slice of numbers."""
    present = [j for j in others if module in adapters[j]]
    if module not in adapters[i] or not present:
        return
    units = pool([adapters[i], *(adapters[j] for j in present)], module)
    own, fold, signed = units.ranks[0], units.fold, units.fold * units.sign
    gram_a = torch.zeros(own, units.count - own, dtype=torch.float64)
    gram_b = torch.zeros_like(gram_a)
    for _, block in units.blocks_a():
        gram_a += block[:own] @ block[own:].mT
    for _, block in units.blocks_b():
        gram_b += block[:, :own].mT @ block[:, own:]
    gram_a *= torch.outer(fold[:own], fold[own:])
    gram_b *= torch.outer(signed[:own], signed[own:])
    if not torch.isfinite(gram_a.sum() + gram_b.sum()):
        refuse_nonfinite(units, [names[i], *(names[j] for j in present)])
    both = torch.stack([gram_a, gram_b]).float().numpy()
    begin = 0
    for j, rank in zip(present, units.ranks[1:], strict=True):
        listed, blocks = found[i, j].setdefault((own, rank), ([], []))
        listed.append(module)
        blocks.append(both[:, :, begin : begin + rank])
        begin += rank


def _packed(runs: dict[tuple[int, int], tuple[list[str], list[np.ndarray]]]) -> PairGrams:
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
        ends = np.cumsum(self.ranks).tolist()
        return [slice(end - rank, end) for end, rank in zip(ends, self.ranks, strict=True)]

    @property
    def member(self) -> Tensor:
        """[n, R] float32: 1 where a unit is an adapter's."""
        owner = torch.repeat_interleave(torch.arange(len(self.ranks)), torch.tensor(self.ranks))
        return torch.nn.functional.one_hot(owner, len(self.ranks)).mT.float()


def pooled(pairs: Mapping[Pair, PairGrams], modules: Sequence[str], ranks: tuple[int, ...]) -> PooledGrams:
    """The blocks of all pairs (i ≤ j) put together, for modules in which the adapters have these ranks."""
    count = sum(ranks)
    whole = np.zeros((2, len(modules), count, count), np.float32)
    ends = np.cumsum(ranks).tolist()
    spans = [slice(end - rank, end) for end, rank in zip(ends, ranks, strict=True)]
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
