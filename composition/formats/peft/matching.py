"""Which modules of a base peft adapts for a config, and under which names a file must bring their factors. Torch-free.

As `BaseTuner.inject_adapter`, `_inject_parameters` and `_convert_peft_config_moe` of peft 0.21 do it: target_modules,
exclude_modules, modules_to_save and layers_to_transform choose modules, target_parameters choose bare parameters, and
the experts' names of transformers 4 become the parameters that transformers 5 fused them into.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from composition.base_shapes import EMBEDDING, LINEAR, BaseShapes
from composition.errors import CompositionError
from composition.formats.peft.config import ALL_LINEAR, PeftConfig
from composition.formats.peft.conversions import expert_targets, fused_targets
from composition.formats.peft.names import CONFIG_FILE
from composition.formats.peft.patterns import Budget

# `_check_lora_target_modules_mamba` of peft 0.21.
MAMBA = frozenset({"falcon_h1", "mamba", "mamba2", "falcon_mamba", "nemotron_h"})
NOT_IN_MAMBA = frozenset({"out_proj", "conv1d"})
SUPPORTED = "Linear, Embedding, Conv1d, Conv2d, Conv3d and transformers' Conv1D"


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter that LoRA sits on directly: `name` in the base, its shape, and whether it stands [experts, in, out].

    `transposed` is None where that is not known. A: [r · experts, in], B: [out, r · experts].
    """

    name: str
    shape: Sequence[int]
    transposed: bool | None

    @property
    def experts(self) -> int:
        return self.shape[0] if len(self.shape) == 3 else 1

    def changes(self) -> list[list[int]]:
        """The [out, in] that A and B may have: one, or two where the order is not known."""
        rows, columns = self.shape[-2:]
        if len(self.shape) == 2 or self.transposed is False:
            return [[rows, columns]]
        return [[columns, rows]] if self.transposed else [[rows, columns], [columns, rows]]


@dataclass(frozen=True, slots=True)
class Picked:
    """What peft adapts: modules by their kind, and parameters by the module name that a file gives their factors."""

    modules: Mapping[str, str]
    parameters: Mapping[str, Parameter]


def picked(config: PeftConfig, base: BaseShapes, budget: Budget) -> Picked:
    """The modules and parameters that `effective` config picks. Raises `adapter.does_not_load` where peft would."""
    layout = base.layout
    modules: dict[str, str] = {}
    for name, kind in layout.kinds.items():
        budget.spend()
        if _is_picked(name, kind, config, base):
            modules[name] = kind
            if layout.model_type in MAMBA and name.rpartition(".")[2] in NOT_IN_MAMBA:
                raise does_not_load(
                    f"{name} is a module that peft doesn't adapt in a {layout.model_type} model",
                    "Take it out of target_modules, and train again without it.",
                    module=name,
                )
    if not _is_all_linear(config):
        for name in layout.others:
            budget.spend()
            if config.targets(name):
                raise _not_supported(name, config)
    for entry in config.target_modules if isinstance(config.target_modules, tuple) else ():
        if layout.looks_bare(entry):
            raise _not_supported(entry, config)
    return Picked(modules, _parameters(config, base, modules, budget))


def effective(config: PeftConfig, base: BaseShapes) -> PeftConfig:
    """The config as peft changes it for a base with fused experts. Raises `adapter.does_not_load` for half a pair."""
    family = base.layout.experts
    if family is None or not config.is_lora:
        return config
    mapping, fused = expert_targets(family), fused_targets(family)
    targets = config.target_modules
    if isinstance(targets, str):
        found = _leaves(config, base, mapping)
        if not found:
            return config
        targets = tuple(sorted(found))
    parameters, rest = set(config.target_parameters), []
    seen: dict[str, set[str]] = {name: set() for name in fused}
    for target in targets or ():
        old = next((name for name in mapping if target == name or target.endswith(f".{name}")), None)
        if old is None:
            rest.append(target)
            continue
        parameters.add(mapping[old])
        if mapping[old] in fused:
            seen[mapping[old]].add(old)
    ranks, alphas = dict(config.rank_pattern), dict(config.alpha_pattern)
    for name, needed in fused.items():
        there = seen[name]
        if 0 < len(there) < len(needed):
            raise does_not_load(
                f"target_modules names {', '.join(sorted(there))} without {', '.join(sorted(set(needed) - there))}, "
                f"and transformers 5 fused them into {name}",
                "Adapt both, or use transformers 4 for this adapter.",
                targets=sorted(there),
            )
        if there:
            ranks[rf".*\.{re.escape(name)}"] = config.r * len(needed)
            alphas[rf".*\.{re.escape(name)}"] = config.lora_alpha * len(needed)
    return replace(
        config,
        target_modules=tuple(rest),
        target_parameters=tuple(sorted(parameters)),
        rank_pattern=ranks,
        alpha_pattern=alphas,
    )


def does_not_load(problem: str, do: str, **facts: object) -> CompositionError:
    """The refusal of what peft would not load, or not as it was trained."""
    return CompositionError(
        "adapter.does_not_load", f"peft can't load this adapter on its base: {problem}. {do}", **facts
    )


def _is_all_linear(config: PeftConfig) -> bool:
    return isinstance(config.target_modules, str) and config.target_modules.lower() == ALL_LINEAR


def _is_picked(name: str, kind: str, config: PeftConfig, base: BaseShapes) -> bool:
    if _is_all_linear(config) and (kind != LINEAR or name in base.layout.heads):
        return False
    return config.targets(name)


def _not_supported(name: str, config: PeftConfig) -> CompositionError:
    entries = config.matching_targets(name) or (name,)
    return does_not_load(
        f"target_modules of {CONFIG_FILE} picks {name}, which holds no matrix of its own; peft adapts {SUPPORTED}",
        f"Take {', '.join(entries)} out of target_modules, and name the layers inside it.",
        module=name,
        targets=list(entries),
    )


def _leaves(config: PeftConfig, base: BaseShapes, mapping: Mapping[str, str]) -> set[str]:
    """The last names that an expression, or all-linear, stands for: `_resolve_string_target_modules`."""
    layout = base.layout
    if _is_all_linear(config):
        linear = {name for name, kind in layout.kinds.items() if kind == LINEAR and name not in layout.heads}
        return {name.rpartition(".")[2] for name in linear} | set(mapping)
    names = [*layout.kinds, *layout.others, *(f"{name}.weight" for name in layout.kinds)]
    names += [f"{owner}.{own}" for owner, parameters in layout.others.items() for own in parameters]
    found = {name.rpartition(".")[2] for name in names if config.targets(name)}
    for old, new in mapping.items():
        owners = (owner for owner, parameters in layout.others.items() if new in parameters)
        if old not in found and any(config.targets(f"{owner}.{old}") for owner in owners):
            found.add(old)
    return found


def _parameters(
    config: PeftConfig, base: BaseShapes, modules: Mapping[str, str], budget: Budget
) -> dict[str, Parameter]:
    """Wrappers nest: the last parameter of a module has the module's name, those before it one `.base_layer` more."""
    if not config.target_parameters:
        return {}
    layout, wanted = base.layout, set(config.target_parameters)
    found: dict[str, Parameter] = {}
    own_of = {**layout.others, **{name: {"weight": base[name]} for name in layout.kinds if name in base}}
    for owner, parameters in own_of.items():
        budget.spend()
        chosen = [
            Parameter(f"{owner}.{own}", shape, None if layout.transposed is None else owner in layout.transposed)
            for own, shape in parameters.items()
            if not wanted.isdisjoint(_ends(f"{owner}.{own}"))
        ]
        if not chosen:
            continue
        if owner in modules or any(len(parameter.shape) not in (2, 3) for parameter in chosen):
            raise does_not_load(
                f"target_parameters of {CONFIG_FILE} picks {chosen[0].name}, which "
                + ("target_modules adapts as well" if owner in modules else "is neither a matrix nor a stack of them"),
                "Take it out of target_parameters.",
                module=chosen[0].name,
            )
        for place, parameter in enumerate(reversed(chosen)):
            found[owner + ".base_layer" * place] = parameter
    if found:
        _check_plain(config, next(iter(found.values())).name)
    return found


def _check_plain(config: PeftConfig, name: str) -> None:
    """What `ParamWrapper` refuses beside a bare parameter."""
    flags = ("fan_in_fan_out", "lora_bias", "use_dora", "velora_config", "kasa_config")
    if config.raw.get("lora_dropout"):
        raise does_not_load(
            f"it adapts the parameter {name}, and peft allows no dropout there (lora_dropout is "
            f"{config.raw['lora_dropout']})",
            f"Set lora_dropout to 0 in {CONFIG_FILE}: it acts in training only, so the adapter stays the same.",
            module=name,
            field="lora_dropout",
        )
    for flag in flags:
        if config.raw.get(flag):
            raise does_not_load(
                f"it adapts the parameter {name}, and peft allows no {flag} there",
                f"Train it again without {flag}.",
                module=name,
                field=flag,
            )


def _ends(name: str) -> list[str]:
    return [name, *(name[dot + 1 :] for dot, character in enumerate(name) if character == ".")]


def is_table(kind: str) -> bool:
    """Whether a module of this kind is a table, whose factors are named lora_embedding_A and _B."""
    return kind == EMBEDDING
