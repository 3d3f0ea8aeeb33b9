"""The adapter_config.json of a plain LoRA as we write it, torch-free; the same bytes every time.

Ranks and scales that differ by module become `rank_pattern` and `alpha_pattern`, whose keys peft 0.21 reads as regular
expressions (`get_pattern_key`: `(.*\\.)?(key)$`). alpha is positive; the sign of a scale is the writer's of B.
"""

import json
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from composition.facts import ModuleFacts

_PLAIN = re.compile(r"[\w.\-]+")


def plain_config(
    facts: Mapping[str, ModuleFacts],
    *,
    base_model: str | None,
    task_type: str | None = None,
    suffixes: Sequence[str] = (),
    fan_in_fan_out: bool = False,
    revision: str | None = None,
) -> bytes:
    """The file: alpha and r per module by patterns where they differ, rsLoRA folded into alpha.

    `suffixes` name the targets where every module ends with one of them, else the modules' full names do.
    """
    ranks = {module: fact.r for module, fact in facts.items()}
    alphas = {module: alpha_of(fact.scale, fact.r) for module, fact in facts.items()}
    r, alpha = _commonest(ranks.values()), _commonest(alphas.values())
    unlike = [module for module in facts if ranks[module] != r or alphas[module] != alpha]
    keys = _pattern_keys(list(facts), unlike)
    fields = {
        "alpha_pattern": {keys[m]: value for m, value in alphas.items() if value != alpha},
        "auto_mapping": None,
        "base_model_name_or_path": base_model,
        "bias": "none",
        "fan_in_fan_out": fan_in_fan_out,
        "inference_mode": True,
        "init_lora_weights": True,
        "layers_pattern": None,
        "layers_to_transform": None,
        "lora_alpha": alpha,
        "lora_dropout": 0.0,
        "modules_to_save": None,
        "peft_type": "LORA",
        "r": r,
        "rank_pattern": {keys[m]: value for m, value in ranks.items() if value != r},
        "revision": revision,
        "target_modules": _targets(list(facts), tuple(suffixes)),
        "task_type": task_type,
        "use_dora": False,
        "use_rslora": False,
    }
    return (json.dumps(fields, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()


def alpha_of(scale: float, rank: int) -> int | float:
    """The alpha with alpha / rank == |scale| exactly where a float allows, whole where it can be; 1 for scale 0."""
    scale = abs(scale) or 1.0
    alpha = scale * rank
    near = (round(alpha), alpha, math.nextafter(alpha, math.inf), math.nextafter(alpha, -math.inf))
    best = min(near, key=lambda value: abs(value / rank - scale))
    return int(best) if best == int(best) else best


def _commonest(values: Any) -> Any:
    """The most frequent value, the largest of equally frequent ones."""
    return max(Counter(values).items(), key=lambda item: (item[1], item[0]))[0]


def _pattern_keys(modules: list[str], wanted: list[str]) -> dict[str, str]:
    """The key of each wanted module: its name, or an anchored escaped regex where the name matches another module too.

    As a key a name matches those that end with it, with any character for each of its dots; names are looked up by
    that, for each length and place of dots, instead of matching all against all.
    """
    plain = {module for module in wanted if _PLAIN.fullmatch(module)}
    forms = {(len(module), _dots(module)) for module in plain}
    matched = Counter[str]()
    for module in modules:
        for length, dots in forms:
            if len(module) == length or (len(module) > length and module[-length - 1] == "."):
                tail = list(module[-length:])
                for dot in dots:
                    tail[dot] = "."
                name = "".join(tail)
                matched.update([name] if name in plain and _dots(name) == dots else [])
    return {module: module if matched[module] == 1 else f"^{re.escape(module)}" for module in wanted}


def _dots(module: str) -> tuple[int, ...]:
    return tuple(place for place, character in enumerate(module) if character == ".")


def _targets(modules: list[str], suffixes: tuple[str, ...]) -> list[str]:
    endings = tuple(f".{suffix}" for suffix in suffixes)
    if suffixes and all(m in suffixes or m.endswith(endings) for m in modules):
        return sorted(suffixes)
    return modules
