"""What every merge of some adapters would give, from their Grams alone: errors, what is kept of whom, size, time.

How adapters stand to each other (`pairs`) is told over all modules. What methods make of them costs an SVD or more of
[Σr, Σr] a module, so where that would take long it is told of some modules, spread over the model. A method whose row
names a `core` is judged by it: exactly, but for the digits of float32 Grams, or as an estimate where the row says so.
Other methods are run on the weights of a few modules, if these are at hand. Methods that read text are not judged.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from composition.merging.compare.angles import Angles, modules_of
from composition.merging.compare.blocks import Pair, PairGrams, PooledGrams, pair_grams, pooled
from composition.merging.compare.by_core import ByCore, judged_by_core
from composition.merging.compare.by_weights import tried
from composition.merging.compare.clusterability import Clusterability
from composition.merging.compare.outlook import Outlook, outlooks
from composition.merging.compare.pairs import PairFigures
from composition.merging.compare.selector import recommend
from composition.merging.compare.sentences import sentences
from composition.merging.compare.signs import sign_conflicts
from composition.merging.compare.spectrum import Spectrum
from composition.merging.compare.spread import spread
from composition.merging.core.cores import Cores, cores_of_grams
from composition.progress import Progress, ignore
from composition.recipes.base import Inputs
from composition.recipes.compare import CompareRecipe
from composition.weights import LoraWeights

CHUNK_BYTES = 64 * 2**20
WORK = 1.4e9
"""Σ over judged modules of (Σr)³ × methods that about a second of one core gets through."""
OVERHEAD = 100
"""What a module costs besides, as a rank."""
LEAST = 3
"""Modules that are judged in any case."""

Read = Callable[[], Sequence[LoraWeights]]


@dataclass(frozen=True, slots=True)
class Compared:
    """Names and header facts of the adapters, and the Grams of all their pairs (i ≤ j)."""

    inputs: Inputs
    pairs: Mapping[Pair, PairGrams]

    def groups(self) -> dict[tuple[int, ...], list[str]]:
        """Ranks of the adapters, 0 for an absent one → the modules where they have these."""
        ranks: dict[str, list[int]] = {}
        for place in range(len(self.inputs)):
            for (own, _), run in self.pairs[place, place].runs.items():
                for module in run.modules:
                    ranks.setdefault(module, [0] * len(self.inputs))[place] = own
        found: dict[tuple[int, ...], list[str]] = {}
        for module in sorted(ranks):
            found.setdefault(tuple(ranks[module]), []).append(module)
        return found

    def cores(self, group: PooledGrams, m: int) -> Cores:
        """The cores of the module at place m of a group."""
        module = group.modules[m]
        own = [facts.modules.get(module) for _, facts in self.inputs]
        folds = torch.tensor([abs(one.scale) ** 0.5 if one else 0.0 for one in own], dtype=torch.float64)
        cores = cores_of_grams(group.A[m].double(), group.B[m].double(), group.ranks, module=module)
        return replace(cores, fold=folds.repeat_interleave(torch.tensor(group.ranks)))


def compare_adapters(
    adapters: Sequence[LoraWeights], recipe: CompareRecipe, *, progress: Progress = ignore
) -> dict[str, Any]:
    """`compare` of adapters at hand. Raises CompositionError where they don't fit the recipe or are not finite."""
    names = [adapter.name or f"adapter {i}" for i, adapter in enumerate(adapters, 1)]
    inputs = [(name, adapter.facts()) for name, adapter in zip(names, adapters, strict=True)]
    recipe.check(inputs)
    given = Compared(inputs, pair_grams(adapters, progress=progress))
    return compare(given, recipe, read=lambda: adapters, progress=progress)


def compare(
    given: Compared, recipe: CompareRecipe, *, read: Read | None = None, progress: Progress = ignore
) -> dict[str, Any]:
    """The report, a plain dict: see docs/merging.md. `read` gives the adapters, for the methods that need them.

    Raises CompositionError where the adapters don't fit the recipe.
    """
    recipe.check(given.inputs)
    recipe = recipe.settled(given.inputs)
    assert recipe.rank is not None
    count, groups = len(given.inputs), given.groups()
    methods = outlooks(recipe, given.inputs)
    cores = {one.method.kind: ByCore(one, count, one.target(count)) for one in methods if one.by_core}
    figures, spectrum = PairFigures(count), Spectrum(recipe.weights or (1.0,) * count)
    clusters = Clusterability(recipe.rank, recipe.weights)
    chosen = chosen_modules(groups, len(cores) + 2, recipe.seconds)
    judged, total = 0, sum(map(len, groups.values()))
    everywhere = spread(sorted(module for modules in groups.values() for module in modules))
    angles, looked_at = Angles(given.inputs), set(everywhere[: modules_of(count, total)])
    for group in chunks(given.pairs, groups):
        figures.add(group)
        angles.add(group, [m for m, module in enumerate(group.modules) if module in looked_at])
        for m in [m for m, module in enumerate(group.modules) if module in chosen]:
            core = given.cores(group, m)
            judged += 1
            if min(len(core.left), core.right.shape[1]):
                spectrum.add(core)
                clusters.add(core)
                judged_by_core(core, cores.values())
            progress(0.9 * judged / len(chosen), f"Judged {judged} of {len(chosen)} modules")
    rows = [_row(one, cores, read, recipe, given.inputs, judged, total, progress) for one in methods]
    signs = sign_conflicts(read()) if read is not None and recipe.sample else None
    report: dict[str, Any] = {
        "rank": recipe.rank,
        "weights": list(recipe.weights) if recipe.weights else None,
        "modules": total,
        "judged": judged,
        "adapters": [
            {
                "name": name,
                "norm": norm,
                "rank": max(m.r for m in facts.modules.values()),
                "modules": len(facts.modules),
            }
            for (name, facts), norm in zip(given.inputs, figures.norms.tolist(), strict=True)
        ],
        "pairs": figures.to_dict() | angles.to_dict() | (signs.to_dict() if signs else {}),
        "looked_at": {"angles": angles.modules, "signs": signs.modules if signs else 0},
        "spectrum": spectrum.to_dict(),
        "clusters": clusters.to_dict(),
        "methods": rows,
    }
    report["recommended"] = {
        word: dict(zip(("kind", "reason"), recommend(report, text_at_hand=text), strict=True))
        for word, text in (("without_text", False), ("with_text", True))
    }
    report["sentences"] = sentences(report)
    return report


def _row(
    one: Outlook,
    cores: Mapping[str, ByCore],
    read: Read | None,
    recipe: CompareRecipe,
    inputs: Inputs,
    judged: int,
    total: int,
    progress: Progress,
) -> dict[str, Any]:
    """A method's row of the report."""
    if one.reason:
        return one.head()
    if one.by_core:
        return cores[one.method.kind].to_dict(judged, total)
    if read is None or not recipe.sample:
        return {**one.head(), "reason": "It needs the weights themselves, and they were not read."}
    progress(0.9, f"Trying {one.method.label}")
    return tried(one, read(), recipe, total)


def chunks(pairs: Mapping[Pair, PairGrams], groups: Mapping[tuple[int, ...], Sequence[str]]) -> Iterator[PooledGrams]:
    """The Grams of all modules, put together a few at a time."""
    for ranks, modules in groups.items():
        step = max(1, CHUNK_BYTES // (8 * sum(ranks) ** 2))
        for begin in range(0, len(modules), step):
            yield pooled(pairs, modules[begin : begin + step], ranks)


def chosen_modules(groups: Mapping[tuple[int, ...], Sequence[str]], methods: int, seconds: float) -> set[str]:
    """The modules that are judged in about so many seconds of one core: all, or some of them; `LEAST` in any case."""
    cost = {module: (sum(ranks) + OVERHEAD) ** 3 * methods for ranks, modules in groups.items() for module in modules}
    taken: set[str] = set()
    spent = 0.0
    for module in spread(sorted(cost)):
        spent += cost[module]
        if spent > WORK * seconds and len(taken) >= LEAST:
            break
        taken.add(module)
    return taken
