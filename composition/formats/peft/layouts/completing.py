"""Which modules an adapter lacks that servers expect beside those it has. Torch-free.

Servers keep one buffer for each kind of module and all layers, and fuse q, k, v, and gate, up. So a kind that is
adapted in one layer is expected in all, and with it the other parts of its fused matrix.

    kind    the module's name with * for its numbers: model.layers.*.self_attn.q_proj

Modules inside layers are completed, the experts of a layer are not: no server keeps one buffer for all of them.
"""

import re
from collections.abc import Iterable, Mapping, Sequence

from composition.facts import ModuleFacts

Shapes = Mapping[str, Sequence[int]]

FUSED = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))
HOLE = "\0"
"""What stands for a number in a kind; no module's name holds it."""
MOST = 64
"""Modules that may be added for each one there is, where only the adapter itself says which layers there are."""

_NUMBER = re.compile(r"(?<=\.)[0-9]+(?=\.)")
_EXPERT = re.compile(f"experts?\\.{HOLE}")


def kind_of(module: str) -> str:
    """The name with HOLE for each number: the same for this module in every layer (and expert)."""
    return _NUMBER.sub(HOLE, module)


def place_of(module: str) -> tuple[str, ...]:
    """The numbers in the name: the layer (and the expert)."""
    return tuple(_NUMBER.findall(module))


def module_at(kind: str, place: Sequence[str]) -> str:
    """The module of a kind at a place; the inverse of `kind_of` and `place_of`."""
    first, *others = kind.split(HOLE)
    return first + "".join(number + text for number, text in zip(place, others, strict=True))


def shown(kind: str) -> str:
    """A kind as people read it."""
    return kind.replace(HOLE, "*")


def partners_of(kind: str) -> tuple[str, ...]:
    """The kinds that are fused with this one, itself included."""
    parent, _, last = kind.rpartition(".")
    fused = next((names for names in FUSED if last in names), (last,))
    return tuple(f"{parent}.{name}" if parent else name for name in fused)


def missing(modules: Mapping[str, ModuleFacts], base_shapes: Shapes | None) -> dict[str, tuple[int, int]]:
    """Module → (out, in) of those that the adapter lacks, sorted by name.

    Of a kind that the base knows, all that the base has; of a kind whose names the base doesn't have (or without
    `base_shapes`), those in the layers that the adapter touches otherwise, if that is no multitude.
    """
    kinds: dict[str, ModuleFacts] = {}
    for module, fact in modules.items():
        kinds.setdefault(kind_of(module), fact)
    layered = {kind: fact for kind, fact in kinds.items() if HOLE in kind and not _EXPERT.search(kind)}
    wanted = {partner for kind in layered for partner in partners_of(kind)}
    known, found = set(), {}
    for name, shape in (base_shapes or {}).items():
        kind = kind_of(name)
        known.add(kind)
        if kind in wanted and len(shape) == 2 and name not in modules:
            found[name] = (shape[0], shape[1])
    strange = {kind: fact for kind, fact in layered.items() if kind not in known and kind.count(HOLE) == 1}
    places = _places(modules, strange) if strange else {}
    if sum(len(places[_root(kind)]) for kind in strange) <= MOST * len(modules):
        for kind, fact in strange.items():
            names = (module_at(kind, place) for place in places[_root(kind)])
            found |= {name: (fact.out_features, fact.in_features) for name in names if name not in modules}
    return dict(sorted(found.items()))


def _root(kind: str) -> str:
    """What stands before the layer's number."""
    return kind.partition(HOLE)[0]


def _places(modules: Iterable[str], kinds: Mapping[str, ModuleFacts]) -> dict[str, set[tuple[str, ...]]]:
    """Root → the places where some module of these kinds is."""
    places: dict[str, set[tuple[str, ...]]] = {}
    for module in modules:
        kind = kind_of(module)
        if kind in kinds:
            places.setdefault(_root(kind), set()).add(place_of(module))
    return places
