"""What the door knows of a base: the shapes of its weights, and what peft's matching asks beyond them. Torch-free.

`module_shapes` gives a `BaseShapes` with all of it. Where only names and shapes were kept, the rest is told from the
base's config.json, by the table of conversions and by the names themselves.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from composition.formats.peft.conversions import Rules, experts_for, rules_for

Shapes = Mapping[str, Sequence[int]]

LINEAR, EMBEDDING, CONV = "linear", "embedding", "conv"
HEADS = frozenset({"lm_head", "embed_out", "output_projection", "proj_out", "cls.predictions.decoder"})
_TABLES = frozenset(
    """
    embed_tokens embed_tokens_per_layer wte wpe word_embeddings position_embeddings token_type_embeddings
    position_embedding embed_positions shared embed_in tok_embeddings relative_attention_bias embeddings pos_embed
    """.split()
)
_NO_LAYER = frozenset({"ln_1", "ln_2", "ln_f", "act_fn", "rotary_emb", "dropout"})


@dataclass(frozen=True, kw_only=True)
class Layout:
    """A base as peft walks through it.

    `kinds` says of every module that LoRA can sit on which kind it is; `others` lists all other modules in the model's
    order, with their own parameters by name and shape (containers have none, norms a vector, experts theirs).
    `transposed` are modules whose fused experts stand [experts, in, out]; None where that is not known. `exact` is
    False where norms and other modules without a matrix are not known. `prefix` is transformers' base_model_prefix.
    """

    kinds: Mapping[str, str]
    others: Mapping[str, Mapping[str, Sequence[int]]]
    prefix: str = ""
    model_type: str | None = None
    rules: Rules | None = None
    experts: str | None = None
    transposed: frozenset[str] | None = None
    heads: frozenset[str] = frozenset()
    exact: bool = False

    def looks_bare(self, target: str) -> bool:
        """Whether an unknown target is named like a module without a matrix, such as a norm, which peft refuses."""
        last = target.rpartition(".")[2].lower()
        return not self.exact and ("norm" in last or last in _NO_LAYER)


class BaseShapes(dict[str, list[int]]):
    """{module: [out, in]} of a base, as `module_shapes` gives it, with its `layout`.

    `config` is the base's config.json, for a base whose layout was not kept.
    """

    def __init__(
        self, shapes: Shapes, *, layout: Layout | None = None, config: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__({name: list(shape) for name, shape in shapes.items()})
        self._layout = layout
        self._config = config or {}

    @classmethod
    def of(cls, shapes: Shapes) -> "BaseShapes":
        """The shapes as they are, or with a layout that is told from their names."""
        return shapes if isinstance(shapes, BaseShapes) else cls(shapes)

    @cached_property
    def layout(self) -> Layout:
        return self._layout or layout_from(self, self._config)

    def without_head(self) -> "BaseShapes | None":
        """The encoder that AutoModel loads of this base: its modules below the prefix, under their names there."""
        layout, start = self.layout, f"{self.layout.prefix}."
        if start == ".":
            return None

        def below(names: Iterable[str]) -> list[str]:
            return [name for name in names if name.startswith(start)]

        inner = Layout(
            kinds={name.removeprefix(start): layout.kinds[name] for name in below(layout.kinds)},
            others={name.removeprefix(start): layout.others[name] for name in below(layout.others)},
            transposed=layout.transposed and frozenset(name.removeprefix(start) for name in below(layout.transposed)),
            model_type=layout.model_type,
            rules=layout.rules,
            experts=layout.experts,
            exact=layout.exact,
        )
        return BaseShapes({name.removeprefix(start): self[name] for name in below(self)}, layout=inner)


def layout_from(shapes: Shapes, config: Mapping[str, Any]) -> Layout:
    """What names, shapes and a config.json say of a base."""
    model_type = config.get("model_type")
    model_type = model_type if isinstance(model_type, str) else None
    named = config.get("architectures")
    architecture = next((name for name in named or () if isinstance(name, str)), None) if named else None
    others: dict[str, dict[str, Sequence[int]]] = {}
    kinds: dict[str, str] = {}
    routed = {name.rpartition(".experts.")[0] for name in shapes if ".experts." in name and len(shapes[name]) > 2}
    for name, shape in shapes.items():
        owner, _, leaf = name.rpartition(".")
        if len(shape) > 2 and owner.rpartition(".")[2] == "experts":
            others.setdefault(owner, {})[leaf] = shape
        elif leaf in ("gate", "router") and owner in routed:
            others[name] = {"weight": shape}
        else:
            kinds[name] = CONV if len(shape) > 2 else EMBEDDING if leaf in _TABLES else LINEAR
    for owner, own in others.items():  # the model's order, which names sorted by letters have lost
        others[owner] = dict(sorted(own.items(), key=lambda entry: (entry[0].startswith("down"), entry[0])))
    for name in (*kinds, *others):
        while name := name.rpartition(".")[0]:
            others.setdefault(name, {})
    prefix = _commonest_start(shapes)
    rules = rules_for(model_type, architecture)
    return Layout(
        kinds=kinds,
        others=others,
        prefix=prefix,
        model_type=model_type,
        rules=Rules(rules, prefix) if rules is not None else None,
        experts=experts_for(model_type),
        heads=frozenset(name for name in kinds if name in HEADS),
    )


def _commonest_start(shapes: Shapes) -> str:
    starts = Counter(name.partition(".")[0] for name in shapes if "." in name)
    if not starts:
        return ""
    start, count = starts.most_common(1)[0]
    return start if count >= 0.8 * len(shapes) and start not in ("layers", "encoder", "decoder", "h") else ""
