"""Whole layers beside a LoRA's factors: modules_to_save, embeddings, heads and norms, against the base's own shapes."""

from collections.abc import Iterator, Sequence

from composition.base_shapes import BaseShapes
from composition.errors import CompositionError
from composition.formats.peft.matching import does_not_load
from composition.formats.peft.names import CONFIG_FILE, PREFIX
from composition.formats.peft.tensors import EMBEDDINGS, Tensors, first_three


def check_whole(found: Tensors, base: BaseShapes) -> list[str]:
    """Whole tensors have the base's shapes, and all that modules_to_save picks is there. Returns the warnings.

    Only the rows of an embedding or a head may differ: the vocabulary was resized, which the user of the adapter must
    do as well. Raises `adapter.shape` and `adapter.does_not_load`.
    """
    _check_saved(found, base)
    wrong, resized = [], []
    for name, tensor in found.saved.items():
        owner, given = _owner(name), list(tensor.shape)
        expected = _expected(owner, name, base)
        if expected is None or given in (expected, expected[::-1]):
            continue
        if owner.rpartition(".")[2] in EMBEDDINGS and len(given) == 2 == len(expected) and given[1] == expected[1]:
            resized.append((owner, given[0], expected[0]))
        else:
            wrong.append({"module": owner, "given": given, "expected": expected})
    if wrong:
        told = "; ".join(f"{entry['module']} is {entry['given']}, expected {entry['expected']}" for entry in wrong[:3])
        raise CompositionError(
            "adapter.shape",
            f"{len(wrong)} whole layers do not fit the base: {told}. Choose the base that the adapter was trained on.",
            tensors=wrong[:3],
            count=len(wrong),
        )
    if not resized:
        return []
    told = ", ".join(f"{owner} has {rows:,} rows, the base's {there:,}" for owner, rows, there in resized)
    rows = resized[0][1]
    return [
        f"The vocabulary was resized: {told}. Call model.resize_token_embeddings({rows}) on the base first, or peft "
        "can't load this adapter; the hub can't evaluate or try it on the base as it is."
    ]


def _owner(name: str) -> str:
    return name.rpartition(".")[0].replace(".modules_to_save.default", "").removesuffix(".base_layer")


def _expected(owner: str, name: str, base: BaseShapes) -> Sequence[int] | None:
    """The base's shape of a whole tensor; None where that is not known."""
    leaf = name.rpartition(".")[2]
    if leaf == "weight" and owner in base:
        return list(base[owner])
    own = base.layout.others.get(owner, {}).get(leaf)
    return None if own is None else list(own)


def _check_saved(found: Tensors, base: BaseShapes) -> None:
    """peft copies every module whose name ends in an entry of modules_to_save, and asks the file for its weights."""
    entries = tuple(found.config.modules_to_save)
    if not entries:
        return
    lacking = sorted({name for name in _asked(entries, base) if name not in found.saved})
    if lacking:
        raise does_not_load(
            f"modules_to_save of {CONFIG_FILE} picks {first_three(lacking)} of the base, which the file lacks under "
            f"the name {PREFIX}{lacking[0]}",
            "Push all of the weights, or take the name out of modules_to_save.",
            tensors=lacking[:3],
            count=len(lacking),
        )


def _asked(entries: tuple[str, ...], base: BaseShapes) -> Iterator[str]:
    layout = base.layout
    chosen = [name for name in (*layout.kinds, *layout.others) if name.endswith(entries)]
    starts = tuple(f"{name}." for name in chosen)
    for name in layout.kinds:
        if name in chosen or name.startswith(starts):
            yield f"{name}.weight"
    for name, own in layout.others.items():
        if name in chosen or name.startswith(starts):
            yield from (f"{name}.{leaf}" for leaf in own)
