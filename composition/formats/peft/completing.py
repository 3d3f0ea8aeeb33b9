"""Which modules an adapter lacks that servers expect beside those it has. Torch-free.

Servers keep one buffer for each kind of module and all layers, and fuse q, k, v, and gate, up. So a kind that is
adapted in one layer is expected in all, and with it the other parts of its fused matrix.

    kind    the module's name with its numbers taken out: model.layers.*.self_attn.q_proj
"""

import re
from collections.abc import Iterable, Mapping, Sequence

from composition.facts import ModuleFacts

Shapes = Mapping[str, Sequence[int]]

FUSED = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))
_NUMBER = re.compile(r"(?<=\.)\d+(?=\.)")


def kind_of(module: str) -> str:
    """The name with `*` for each number: the same for this module in every layer (and expert)."""
    return _NUMBER.sub("*", module)


def place_of(module: str) -> tuple[int, ...]:
    """The numbers in the name: the layer (and the expert)."""
    return tuple(map(int, _NUMBER.findall(module)))


def module_at(kind: str, place: Sequence[int]) -> str:
    """The module of a kind at a place; the inverse of `kind_of` and `place_of`."""
    numbers = iter(place)
    return re.sub(r"(?<=\.)\*(?=\.)", lambda _: str(next(numbers)), kind)


def partners_of(kind: str) -> tuple[str, ...]:
    """The kinds that are fused with this one, itself included."""
    parent, _, last = kind.rpartition(".")
    fused = next((names for names in FUSED if last in names), (last,))
    return tuple(f"{parent}.{name}" if parent else name for name in fused)


def missing(modules: Mapping[str, ModuleFacts], base_shapes: Shapes | None) -> dict[str, tuple[int, int]]:
    """Module → (out, in) of those that the adapter lacks, sorted by name.

    Of a kind that the base knows, all that the base has; of a kind whose names the base doesn't have (or without
    `base_shapes`), those in the layers that the adapter touches otherwise.
    """
    kinds = {partner for module in modules for partner in partners_of(kind_of(module))}
    found = {
        name: (shape[0], shape[1])
        for name, shape in (base_shapes or {}).items()
        if len(shape) == 2 and name not in modules and kind_of(name) in kinds
    }
    known = {kind_of(name) for name in base_shapes or {}}
    strange = {kind_of(module): fact for module, fact in modules.items() if kind_of(module) not in known}
    places = _places(modules, strange)
    for kind, fact in strange.items():
        for place in places[_root(kind)]:
            name = module_at(kind, place)
            if name not in modules:
                found[name] = (fact.out_features, fact.in_features)
    return dict(sorted(found.items()))


def _root(kind: str) -> tuple[str, int]:
    """Where the layers are that a kind is in, and how many numbers its names have."""
    return kind.partition(".*.")[0], kind.count(".*.")


def _places(modules: Iterable[str], kinds: Iterable[str]) -> dict[tuple[str, int], set[tuple[int, ...]]]:
    """(root, numbers) → the places where some module of these kinds is."""
    wanted, places = set(kinds), {}
    for module in modules:
        kind = kind_of(module)
        if kind in wanted:
            places.setdefault(_root(kind), set()).add(place_of(module))
    return places
