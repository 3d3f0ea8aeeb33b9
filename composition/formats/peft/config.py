"""`adapter_config.json` of peft: the one place that knows what alpha, rank, rsLoRA and the patterns mean.

    scale = alpha / r, or alpha / √r with use_rslora        (peft 0.21 `LoraLayer.update_layer`)
    r, alpha of a module = rank_pattern, alpha_pattern by `get_pattern_key`, or the config's own

`fan_in_fan_out` says how the *base* stores its weight; peft's factors are A: [r, in] and B: [out, r] either way, and
ΔW = scale · B @ A is [out, in]. Fields are checked by `fields`.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from composition.errors import CompositionError
from composition.formats.peft import fields, patterns
from composition.formats.peft.names import CONFIG_FILE
from composition.formats.peft.types import MIXTURES, PEFT_TYPES, REFUSED_TYPES, reason_for
from composition.formats.strict_json import shorten, strict_loads

MAX_CONFIG = 256 * 1024
ALL_LINEAR = "all-linear"


@dataclass(frozen=True, kw_only=True)
class PeftConfig:
    """A checked config. `raw` is the JSON as it came, unknown keys included; defaults are peft's."""

    peft_type: str
    r: int = 8
    lora_alpha: float = 8.0
    use_rslora: bool = False
    rank_pattern: dict[str, int] = field(default_factory=dict)
    alpha_pattern: dict[str, float] = field(default_factory=dict)
    fan_in_fan_out: bool = False
    target_modules: tuple[str, ...] | str | None = None
    exclude_modules: tuple[str, ...] | str | None = None
    modules_to_save: tuple[str, ...] = ()
    layers_to_transform: tuple[int, ...] | int | None = None
    layers_pattern: tuple[str, ...] = ()
    target_parameters: tuple[str, ...] = ()
    bias: str = "none"
    init_lora_weights: bool | str = True
    task_type: str | None = None
    base_model_name: str | None = None
    variants: tuple[str, ...] = ()
    unknown_fields: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    raw: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def is_lora(self) -> bool:
        """Whether this adapter is made of A, B and a scale."""
        return self.peft_type == "LORA"

    def rank(self, module: str) -> int:
        """The rank of a module, given by its full name without `base_model.model.`."""
        return self.rank_pattern.get(self._rank_keys.find(module), self.r)

    def alpha(self, module: str) -> float:
        """The alpha of a module."""
        return self.alpha_pattern.get(self._alpha_keys.find(module), self.lora_alpha)

    def scale(self, module: str, r: int | None = None) -> float:
        """The factor s of ΔW = s · B @ A, for the config's rank of the module or for `r`."""
        rank = self.rank(module) if r is None else r
        return self.alpha(module) / (math.sqrt(rank) if self.use_rslora else rank)

    def rank_keys_of(self, modules: Iterable[str]) -> set[str]:
        """The keys of `rank_pattern` that some module takes its rank from."""
        return {self._rank_keys.find(module) for module in modules}

    def targets(self, module: str) -> bool:
        """Whether peft would adapt this module (`check_target_module_exists`)."""
        return not self._excludes(module) and bool(self.matching_targets(module))

    def matching_targets(self, module: str) -> tuple[str, ...]:
        """The entries of `target_modules` that pick the module, exclusions aside; a regex is one entry.

        `all-linear` picks every module: a name does not show which are linear.
        """
        if self.target_modules is None:
            return ()
        if isinstance(self.target_modules, str):
            if self.target_modules.lower() == ALL_LINEAR or patterns.fullmatch(self.target_modules, module):
                return (self.target_modules,)
            return ()
        ends = _ends(module) if self._layer_is_chosen(module) else [module]
        return tuple(end for end in ends if end in self._target_set)

    @cached_property
    def _rank_keys(self) -> patterns.KeyTable:
        return patterns.KeyTable(tuple(self.rank_pattern))

    @cached_property
    def _alpha_keys(self) -> patterns.KeyTable:
        return patterns.KeyTable(tuple(self.alpha_pattern))

    @cached_property
    def _target_set(self) -> frozenset[str]:
        return frozenset(self.target_modules or ())

    @cached_property
    def _excluded_set(self) -> frozenset[str]:
        return frozenset(self.exclude_modules or ())

    def _excludes(self, module: str) -> bool:
        excluded = self.exclude_modules
        if isinstance(excluded, str):
            if excluded and patterns.fullmatch(excluded, module):
                return True
        elif excluded and not self._excluded_set.isdisjoint(_ends(module)):
            return True
        return any(patterns.saved_module_regex(name).match(module) for name in self.modules_to_save)

    def _layer_is_chosen(self, module: str) -> bool:
        chosen = self.layers_to_transform
        if chosen is None or chosen == ():
            return True
        expressions = [patterns.layer_regex(pattern) for pattern in self.layers_pattern] or [patterns.ANY_LAYER]
        found = next((match for expression in expressions if (match := expression.match(module))), None)
        if found is None:
            return False
        index = int(found["idx"])
        return index == chosen if isinstance(chosen, int) else index in chosen

    @cached_property
    def expressions(self) -> list[tuple[str, str]]:
        """(field, expression) of all that is run on module names, as peft runs it."""
        wholes = (("target_modules", self.target_modules), ("exclude_modules", self.exclude_modules))
        found = [(name, value) for name, value in wholes if isinstance(value, str)]
        found += [("modules_to_save", patterns.SAVED_WRAP.replace("{}", key)) for key in self.modules_to_save]
        found += [("layers_pattern", patterns.LAYER_WRAP.replace("{}", key)) for key in self.layers_pattern]
        found += [("rank_pattern", expression) for expression in self._rank_keys.expressions]
        return found + [("alpha_pattern", expression) for expression in self._alpha_keys.expressions]

    def needs_base(self) -> list[dict[str, str]]:
        """Why this adapter can't be merged from its files alone: [{code, reason, do}]; empty if it can."""
        if self.peft_type in MIXTURES:
            return [reason_for("mixture", MIXTURES[self.peft_type])]
        if not self.is_lora:
            return [reason_for("not_lora", self.peft_type)]
        reasons = [reason_for(code) for code in self.variants]
        if self.modules_to_save:
            reasons.append(reason_for("modules_to_save", _listed(self.modules_to_save)))
        if self.bias != "none":
            reasons.append(reason_for("bias", self.bias))
        if self.target_parameters:
            reasons.append(reason_for("target_parameters", _listed(self.target_parameters)))
        if self.unknown_fields:
            reasons.append(reason_for("unknown_fields", _listed([shorten(name) for name in self.unknown_fields])))
        return reasons


def parse_peft_config(data: bytes, *, size: int = 0) -> PeftConfig:
    """Check the bytes of an `adapter_config.json`; nothing it names is imported, opened or fetched.

    `size` is the file's, if `data` is only its start. Raises CompositionError `config.*`, with `field` where one field
    is to blame.
    """
    if len(data) > MAX_CONFIG:
        raise CompositionError(
            "config.too_large",
            f"{CONFIG_FILE} has {max(size, len(data)):,} bytes; at most {MAX_CONFIG:,} are allowed. "
            "Keep only peft's own fields in it.",
            size=max(size, len(data)),
            limit=MAX_CONFIG,
        )
    raw = strict_loads(data, area="config", what=CONFIG_FILE)
    if not isinstance(raw, dict):
        raise CompositionError("config.json", f"{CONFIG_FILE} must hold one JSON object, but holds {shorten(raw)}.")
    peft_type = _peft_type(raw)
    fields.refuse_code(raw)
    return PeftConfig(peft_type=peft_type, raw=raw, **fields.checked_fields(raw, lora=peft_type == "LORA"))


def _peft_type(raw: dict[str, Any]) -> str:
    if "peft_type" not in raw:
        looks = (
            "it looks like an adapter of the `adapters` library"
            if "model_class" in raw or "hidden_size" in raw
            else "it does not look like a peft adapter"
        )
        raise CompositionError(
            "config.peft_type",
            f'{CONFIG_FILE} has no "peft_type"; {looks}. Save the adapter with peft: '
            'its config says "peft_type": "LORA".',
            field="peft_type",
        )
    given = raw["peft_type"]
    known_types = sorted(PEFT_TYPES | MIXTURES.keys())
    if not isinstance(given, str) or given not in known_types:
        raise CompositionError(
            "config.peft_type",
            f"{CONFIG_FILE}: peft_type {shorten(given)} is unknown. Known are {', '.join(known_types)}. "
            "Convert the adapter to a plain LoRA and push that.",
            field="peft_type",
            known=known_types,
        )
    if given in REFUSED_TYPES:
        raise CompositionError(
            "config.peft_type",
            f"{CONFIG_FILE}: {given} loads other adapters by the paths it names, so it can't be stored here. "
            "Push those adapters themselves.",
            field="peft_type",
        )
    return given


def _ends(module: str) -> list[str]:
    """The name, and the rest after each of its dots: what a list entry of peft may equal."""
    return [module, *(module[dot + 1 :] for dot, character in enumerate(module) if character == ".")]


def _listed(names: Sequence[str], limit: int = 3) -> str:
    return ", ".join(names[:limit]) + (f" and {len(names) - limit} more" if len(names) > limit else "")
