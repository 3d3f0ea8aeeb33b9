"""Base models as the tree that `derived_from` makes of them, flattened for a page: each row with its depth."""

from collections.abc import Iterable

from hub.models import BaseModel

DESCRIBED = {
    "model_type": "Architecture",
    "_class_name": "Model",
    "num_hidden_layers": "Layers",
    "hidden_size": "Hidden size",
    "intermediate_size": "Feed-forward size",
    "num_attention_heads": "Attention heads",
    "num_key_value_heads": "Key-value heads",
    "vocab_size": "Vocabulary",
    "max_position_embeddings": "Context",
}


def flat(bases: Iterable[BaseModel]) -> list[dict]:
    """[{"base", "depth", "parent", "root"}], children below their parent."""
    every = list(bases)
    known = {base.pk for base in every}
    children: dict[int | None, list[BaseModel]] = {}
    for base in every:
        parent = base.derived_from_id if base.derived_from_id in known else None
        children.setdefault(parent, []).append(base)
    rows: list[dict] = []
    waiting = [(base, 0, base.pk) for base in reversed(children.get(None, []))]
    while waiting:
        base, depth, root = waiting.pop()
        rows.append({"base": base, "depth": min(depth, 6), "root": root})
        waiting += [(child, depth + 1, root) for child in reversed(children.get(base.pk, []))]
    return rows


def family(rows: list[dict], pk: int) -> list[dict]:
    """The rows of the tree this base is in; nothing where it stands alone."""
    root = next((row["root"] for row in rows if row["base"].pk == pk), None)
    kin = [row for row in rows if row["root"] == root]
    return kin if len(kin) > 1 else []


def described(config: dict) -> list[tuple[str, object]]:
    """The few fields of a config that people compare models by."""
    return [(label, config[key]) for key, label in DESCRIBED.items() if config.get(key) is not None]
