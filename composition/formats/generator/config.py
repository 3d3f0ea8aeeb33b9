"""What a generator is, torch-free: the sizes and targets in its `generator_config.json`.

base_model   the base it was trained on, and the only one it writes adapters for
modules      the linear layers it adapts, first to last; each belongs to the decoder layer whose number it carries
hidden D, in_features, out_features      of every adapted layer
inner R1, r R2, rank q, alpha, norm, shift      see `composition.generative`
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from composition.errors import CompositionError
from composition.formats.strict_json import shorten

CONFIG_FILE = "generator_config.json"
WEIGHTS_FILE = "generator.safetensors"
FORMAT_VERSION = 1
NORMS = ("svd", "polar", "frobenius", "none")
PARTS = ("A1", "A2", "A3", "B", "norm")
MOST_LAYERS = 2048
LARGEST = 1 << 20

_LAYER = re.compile(r"(.+?\.\d+)\..+")


@dataclass(frozen=True, slots=True, kw_only=True)
class GeneratorConfig:
    """Sizes and targets; `training` is the record of how it was made, for people."""

    base_model: str
    modules: tuple[str, ...]
    hidden: int
    in_features: int
    out_features: int
    inner: int
    r: int
    rank: int
    alpha: float
    norm: str = "svd"
    shift: int = 0
    training: dict[str, Any]

    @property
    def scale(self) -> float:
        """α / R2."""
        return self.alpha / self.r

    @property
    def layers(self) -> tuple[str, ...]:
        """The decoder layer that each module belongs to."""
        return tuple(layer_of(module) for module in self.modules)

    @property
    def adapter_rank(self) -> int:
        """The rank of the LoRA it writes: q under the SVD, which drops directions, else R2."""
        return self.rank if self.norm == "svd" else self.r

    @property
    def parameters(self) -> int:
        """How many weights it has."""
        return len(self.modules) * sum(size[0] * (size[1] if len(size) > 1 else 1) for size in self.shapes().values())

    @property
    def trainings(self) -> list[tuple[int, int]]:
        """(tokens, steps) of the trainings in the record, the latest first."""
        found: list[tuple[int, int]] = []
        record: Any = self.training
        while isinstance(record, Mapping) and all(_whole(record.get(key), 1, 2**63) for key in ("tokens", "steps")):
            found.append((record["tokens"], record["steps"]))
            record = record.get("before")
        return found

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Part → shape in every module."""
        return {
            "A1": (self.inner, self.in_features),
            "A2": (self.inner, self.hidden),
            "A3": (self.r, self.hidden),
            "B": (self.out_features, self.r),
            "norm": (self.hidden,),
        }

    def to_dict(self) -> dict[str, Any]:
        """JSON form, with the format's version."""
        return {"format_version": FORMAT_VERSION, **asdict(self), "modules": list(self.modules)}

    @classmethod
    def from_dict(cls, raw: object) -> "GeneratorConfig":
        """The config in a parsed JSON; CompositionError `generator.config`, `generator.version`."""
        if not isinstance(raw, Mapping):
            raise _wrong("the file", "a JSON object", raw)
        if raw.get("format_version") != FORMAT_VERSION:
            raise CompositionError(
                "generator.version",
                f"{CONFIG_FILE}: format_version is {shorten(raw.get('format_version'))}; this hub reads "
                f"{FORMAT_VERSION}. Save the generator with a hub of this version.",
            )
        known = {field.name for field in fields(cls)}
        if unknown := sorted(raw.keys() - known - {"format_version"}):
            raise _wrong(shorten(unknown[0]), f"one of {', '.join(sorted(known))}", unknown[0])
        for name in ("hidden", "in_features", "out_features", "inner", "r", "rank"):
            if not _whole(raw.get(name), 1, LARGEST):
                raise _wrong(name, f"a whole number from 1 to {LARGEST}", raw.get(name))
        modules, alpha = raw.get("modules"), raw.get("alpha")
        if not isinstance(raw.get("base_model"), str) or not raw["base_model"]:
            raise _wrong("base_model", "the id of a base", raw.get("base_model"))
        if not isinstance(modules, list) or not 1 <= len(modules) <= MOST_LAYERS:
            raise _wrong("modules", f"a list of 1 to {MOST_LAYERS} names", modules)
        for module in modules:
            if not isinstance(module, str) or not _LAYER.fullmatch(module):
                raise _wrong("modules", "names with a layer's number, such as model.layers.0.self_attn.o_proj", module)
        if len(set(modules)) < len(modules):
            raise _wrong("modules", "each name once", modules)
        if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not 0 < alpha < 1e9:
            raise _wrong("alpha", "a number above 0", alpha)
        if raw.get("norm", "svd") not in NORMS:
            raise _wrong("norm", f"one of {', '.join(NORMS)}", raw.get("norm"))
        if not _whole(raw.get("shift", 0), 0, 1):
            raise _wrong("shift", "0 or 1", raw.get("shift"))
        if raw["rank"] > min(raw["inner"], raw["r"]):
            raise _wrong("rank", f"at most inner and r, which are {raw['inner']} and {raw['r']}", raw["rank"])
        if not isinstance(raw.get("training"), Mapping):
            raise _wrong("training", "an object", raw.get("training"))
        values = {name: raw[name] for name in known & raw.keys()}
        return cls(**{**values, "modules": tuple(modules), "alpha": float(alpha), "training": dict(raw["training"])})


def layer_of(module: str) -> str:
    """`model.layers.3` of `model.layers.3.self_attn.o_proj`."""
    found = _LAYER.fullmatch(module)
    if found is None:
        raise _wrong("modules", "names with a layer's number, such as model.layers.0.self_attn.o_proj", module)
    return found[1]


def adapted_modules(
    shapes: Mapping[str, Sequence[int]], target: str, first_layer: int = 0
) -> tuple[list[str], tuple[int, int]]:
    """(the layers of a base that end in `target`, first to last, their common (out, in)) out of {name: [out, in]}.

    Errors: `generator.base_layers` where there are none, or their shapes differ.
    """
    found = [name for name in shapes if name.rpartition(".")[2] == target and _LAYER.fullmatch(name)]
    numbered = sorted((int(layer_of(name).rpartition(".")[2]), name) for name in found)
    modules = [name for number, name in numbered if number >= first_layer]
    if not modules:
        raise CompositionError(
            "generator.base_layers",
            f"This base has no {target} from layer {first_layer} on. Choose another target or layer.",
            target=target,
        )
    sizes = {tuple(int(size) for size in shapes[module]) for module in modules}
    if len(sizes) > 1:
        raise CompositionError(
            "generator.base_layers",
            f"The layers {target} of this base differ in shape: {sorted(sizes)[:3]}. Choose another target.",
            target=target,
        )
    out_features, in_features = sizes.pop()
    return modules, (out_features, in_features)


def _whole(value: object, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _wrong(field: str, expected: str, given: object) -> CompositionError:
    return CompositionError(
        "generator.config",
        f"{CONFIG_FILE}: {field} must be {expected}, but is {shorten(given)}. Push the folder as training wrote it.",
        field=field,
    )
