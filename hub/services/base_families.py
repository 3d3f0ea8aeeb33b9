"""Bases that are one but for their precision: a base, and the quantised copies that are registered as made from it.

Training on a 4-bit copy sees rounded weights, so its adapters are a little off on the 16-bit base, and mostly good
enough. Whether they are is for people to say: nothing here is done without a word of theirs.
"""

from hub.models import BaseModel, Version

DEEPEST = 20
"""Longer chains of copies are followed no further."""
WORD = "across_quantisations"
OPTION = "--across-quantisations"


def unquantised(base: BaseModel) -> BaseModel:
    """The base at the end of "is a quantised copy of", itself where it is none."""
    for _ in range(DEEPEST):
        if base.relation != BaseModel.Relation.QUANTIZED or base.derived_from is None:
            break
        base = base.derived_from
    return base


def relatives(first: BaseModel | None, second: BaseModel | None) -> BaseModel | None:
    """What both are, or are quantised copies of; None where they are no such relatives."""
    if first is None or second is None:
        return None
    root = unquantised(first)
    return root if root.pk == unquantised(second).pk else None


def other_base(first: Version, version: Version, *, across: bool | None = None) -> str:
    """Why two adapters can't become one: their bases differ. "" where they don't.

    `across` is whether the asker takes quantised relatives for one; None where the method can't.
    """
    if version.base_id == first.base_id:
        return ""
    differ = f"It belongs to the base {version.base}, but {first} belongs to {first.base}"
    root = relatives(first.base, version.base)
    if across is None:
        return f"{differ}; they need one base."
    if root is None:
        return (
            f"{differ}; they need one base. If one is a quantised copy of the other, push that adapter again for "
            f"the base that is not quantised: hubctl push FOLDER {version.repository.path} --base BASE"
        )
    if across:
        return ""
    return (
        f"{differ}: quantised relatives. What was learnt on a quantised copy is slightly off on another; say "
        f"{WORD} ({OPTION}) to take them as adapters of {root}."
    )
