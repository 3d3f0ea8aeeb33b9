"""The factors of one file that another tool wrote, brought together by the layer that they are of."""

from collections.abc import Callable, Hashable, Sequence
from typing import TypeVar

from composition.formats.foreign.looks import header_of
from composition.formats.foreign.parts import Stored, stored_tensors
from composition.formats.foreign.plan import refuse
from composition.formats.sources import Files

Layer = TypeVar("Layer", bound=Hashable)


def only_file(found: Sequence[str], label: str) -> str:
    """The one file of weights. Raises `import.several`."""
    if len(found) != 1:
        refuse("several", label, f"there are {', '.join(found[:3])}", "Push one folder an adapter.", files=list(found))
    return found[0]


def paired(
    files: Files,
    file: str,
    label: str,
    read: Callable[[str], tuple[Layer, str] | None],
    *,
    shown: Callable[[Layer], str] = str,
) -> dict[Layer, dict[str, Stored]]:
    """Layer → its tensors by half, "A" and "B" among them, in the file's order.

    `read` says which half of which layer a tensor's name means; `shown` what a layer is called in a refusal. Raises
    `import.tensor_unknown` for a name that means none, `import.unpaired` for a layer without both factors.
    """
    halves: dict[Layer, dict[str, Stored]] = {}
    for name, stored in stored_tensors(header_of(files, file), file).items():
        meant = read(name)
        if meant is None:
            told = f"{file} holds {name}, which is no factor of a layer that is known"
            refuse("tensor_unknown", label, told, "Save the adapter alone.", tensors=[name])
        layer, half = meant
        halves.setdefault(layer, {})[half] = stored
    for layer, pair in halves.items():
        if not {"A", "B"} <= set(pair):
            refuse("unpaired", label, f"{shown(layer)} has {', '.join(sorted(pair))} only", "Save it again.")
    return halves
