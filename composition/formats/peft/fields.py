"""Field by field, what an `adapter_config.json` may say.

Types and limits follow peft 0.21's `LoraConfig`; what would make a reader import code is refused, and what peft would
only fail on later (a rank of 0, a pattern that doesn't compile) is refused with the field's name.
"""

import math
import re
from collections.abc import Callable, Iterable
from typing import Any

from composition.errors import CompositionError
from composition.formats.peft import patterns
from composition.formats.peft.checks.unknown_fields import unknown_fields
from composition.formats.peft.types import INITIALISATIONS, TASK_TYPES
from composition.formats.strict_json import shorten

MAX_RANK = 65536
MAX_LIST = 65536
MAX_EXPRESSIONS = 256
MAX_NAME = 512
IMPORTABLE = ("transformers", "diffusers")
CODE_KEYS = ("auto_map", "_attn_implementation_internal", "trust_remote_code")
SOURCES = ("AVERAGE_SOURCE_TASKS", "EXACT_SOURCE_TASK", "ONLY_SOURCE_SHARED")
# Fields by which peft reads another file, or another model, when the adapter is loaded; the value that does not.
ELSEWHERE = {"prompt_tuning_init_state_dict_path": None, "shadow_model": "mirror"}
REPO_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}(/[A-Za-z0-9][\w.-]{0,95})?", re.ASCII)


def refuse(name: str, given: object, expected: str, do: str = "") -> CompositionError:
    """A `config.field` refusal: what was given, what is expected, what to do."""
    message = f"adapter_config.json: {name} is {shorten(given)}; expected {expected}."
    return CompositionError("config.field", f"{message} {do}".rstrip(), field=name, expected=expected)


def refuse_code(raw: dict[str, Any], file: str = "adapter_config.json") -> None:
    """Refuse what would make a loader import a module, at any depth, or read another file. Raises `config.code`."""
    pending: list[object] = [raw]
    while pending:
        value = pending.pop()
        if isinstance(value, dict):
            for key in CODE_KEYS:
                if value.get(key):
                    raise _code(file, key, f"{key} makes programs run code that comes with a model")
            pending.extend(value.values())
        elif isinstance(value, list):
            pending.extend(value)
    mapping = raw.get("auto_mapping")
    if mapping is not None:
        library = mapping.get("parent_library") if isinstance(mapping, dict) else mapping
        if library is not None and not _importable(library):
            raise _code(file, "auto_mapping", f"its parent_library {shorten(library)} would be imported by peft")
    for name, harmless in ELSEWHERE.items():
        if raw.get(name) not in (None, "", harmless):
            raise _code(file, name, f"peft would read {shorten(raw[name])} when it loads the adapter")
    if raw.get("prompt_tuning_init") in SOURCES:
        given = shorten(raw["prompt_tuning_init"])
        raise _code(file, "prompt_tuning_init", f"with {given} peft reads another adapter's file before this one's")
    if raw.get("megatron_core") not in (None, "megatron.core"):
        raise _code(file, "megatron_core", f"the module {shorten(raw['megatron_core'])} would be imported by peft")


def _importable(library: object) -> bool:
    if not isinstance(library, str) or re.fullmatch(r"\w+(\.\w+)*", library, re.ASCII) is None:
        return False
    return library.split(".")[0] in IMPORTABLE and not library.startswith("transformers.dynamic_module")


def _code(file: str, name: str, problem: str) -> CompositionError:
    return CompositionError(
        "config.code",
        f"{file}: {name} is refused: {problem}. Remove the field, or set it to null.",
        file=file,
        field=name,
    )


def checked_fields(raw: dict[str, Any], *, lora: bool) -> dict[str, Any]:
    """The keyword arguments of `PeftConfig`, except `peft_type` and `raw`. Raises `config.field`, `config.regex`."""
    warnings: list[str] = []
    fields: dict[str, Any] = {
        "task_type": _choice(raw, "task_type", TASK_TYPES),
        "base_model_name": _base_model_name(raw, warnings),
        "target_modules": _names_or_regex(raw, "target_modules"),
        "exclude_modules": _names_or_regex(raw, "exclude_modules"),
        "modules_to_save": _names(raw, "modules_to_save"),
    }
    _expressions("modules_to_save", fields["modules_to_save"], patterns.SAVED_WRAP)
    if lora:
        fields |= _lora_fields(raw, fields, warnings)
    return fields | {"warnings": tuple(warnings)}


def _lora_fields(raw: dict[str, Any], shared: dict[str, Any], warnings: list[str]) -> dict[str, Any]:
    unknown = unknown_fields(raw, warnings)
    if "r" not in raw:
        warnings.append("adapter_config.json has no r; peft uses 8.")
    if "lora_alpha" not in raw:
        warnings.append("adapter_config.json has no lora_alpha; peft uses 8.")
    parameters = _names(raw, "target_parameters")
    if shared["target_modules"] is None and not parameters:
        raise refuse(
            "target_modules",
            None,
            "a list of module names, or a regular expression",
            'Name the adapted modules, for example ["q_proj", "v_proj"].',
        )
    fields: dict[str, Any] = {
        "r": _rank("r", raw.get("r", 8)),
        "lora_alpha": _alpha("lora_alpha", raw.get("lora_alpha", 8)),
        "use_rslora": _flag(raw, "use_rslora"),
        "fan_in_fan_out": _flag(raw, "fan_in_fan_out"),
        "rank_pattern": _pattern(raw, "rank_pattern", _rank),
        "alpha_pattern": _pattern(raw, "alpha_pattern", _alpha),
        "bias": _choice(raw, "bias", ("none", "all", "lora_only")) or "none",
        "init_lora_weights": _initialisation(raw),
        "target_parameters": parameters,
        "unknown_fields": unknown,
    }
    dropout = raw.get("lora_dropout", 0.0)
    if not _is_number(dropout) or not 0 <= dropout < 1:
        raise refuse("lora_dropout", dropout, "a number from 0 to below 1")
    fields |= _layers(raw, shared["target_modules"])
    return fields | {"variants": _variants(raw, fields["init_lora_weights"])}


def _layers(raw: dict[str, Any], targets: object) -> dict[str, Any]:
    given = raw.get("layers_to_transform")
    chosen: int | tuple[int, ...] | None = tuple(given) if isinstance(given, list) else given
    wrong = [index for index in (chosen if isinstance(chosen, tuple) else (chosen,)) if not _is_index(index)]
    if chosen is not None and wrong:
        raise refuse("layers_to_transform", given, "a layer's index, or a list of them")
    names = raw.get("layers_pattern")
    layers: tuple[str, ...] = _names(raw, "layers_pattern") if not isinstance(names, str) else (names,) if names else ()
    _expressions("layers_pattern", layers, patterns.LAYER_WRAP)
    if isinstance(targets, str) and (chosen is not None or names is not None):
        name = "layers_to_transform" if chosen is not None else "layers_pattern"
        raise refuse(name, given if chosen is not None else names, "null, because target_modules is one expression")
    if layers and chosen is None:
        raise refuse("layers_pattern", names, "null, because layers_to_transform is not given")
    return {"layers_to_transform": chosen, "layers_pattern": layers}


def _variants(raw: dict[str, Any], initialisation: bool | str) -> tuple[str, ...]:
    """The codes of `NEEDS_BASE` that follow from flags and sub-configs."""
    start = initialisation.lower() if isinstance(initialisation, str) else ""
    found = [method for method in ("pissa", "corda") if start.startswith(method)]
    found += [start] if start in ("olora", "lora_ga", "loftq") else []
    flags = {"dora": "use_dora", "lora_bias": "lora_bias", "qalora": "use_qalora"}
    found += [code for code, name in flags.items() if _flag(raw, name)]
    given = {
        "kasa": "kasa_config",
        "trainable_tokens": "trainable_token_indices",
        "alora": "alora_invocation_tokens",
        "bdlora": "use_bdlora",
        "monteclora": "monteclora_config",
        "arrow": "arrow_config",
        "layer_replication": "layer_replication",
    }
    for code, name in given.items():
        value = raw.get(name)
        if value is not None and not isinstance(value, dict | list):
            raise refuse(name, value, "null, an object or a list")
        # Empty sub-configs switch their method on; an empty list of tokens or layers switches nothing on.
        if isinstance(value, dict) or value:
            found.append(code)
    return tuple(found)


def _initialisation(raw: dict[str, Any]) -> bool | str:
    given = raw.get("init_lora_weights", True)
    if isinstance(given, bool):
        return given
    known = isinstance(given, str) and (given.lower() in INITIALISATIONS or re.fullmatch(r"pissa_niter_\d{1,4}", given))
    if not known:
        raise refuse(
            "init_lora_weights",
            given,
            f"true, false, pissa_niter_N or one of {', '.join(sorted(INITIALISATIONS))}",
            "An unknown start may have changed the base model.",
        )
    return given


def _base_model_name(raw: dict[str, Any], warnings: list[str]) -> str | None:
    given = raw.get("base_model_name_or_path")
    if given is None or given == "":
        return None
    if not isinstance(given, str) or len(given) > 1024 or not given.isprintable():
        raise refuse("base_model_name_or_path", given, "the base model's id, such as org/name")
    if REPO_ID.fullmatch(given) is None or ".." in given or "--" in given:
        warnings.append(
            f"base_model_name_or_path {shorten(given)} is a path or an address, not a model's id; it is never opened, "
            "and others can't load the adapter by it."
        )
    return given


def _names_or_regex(raw: dict[str, Any], name: str) -> tuple[str, ...] | str | None:
    given = raw.get(name)
    if isinstance(given, str):
        if given == "":
            raise refuse(name, given, "a list of module names, or a regular expression")
        patterns.check_pattern(given, field=name)
        return given
    return None if given is None else _names(raw, name)


def _names(raw: dict[str, Any], name: str) -> tuple[str, ...]:
    given = raw.get(name)
    if given is None:
        return ()
    if not isinstance(given, list) or len(given) > MAX_LIST:
        raise refuse(name, given, f"a list of at most {MAX_LIST} names")
    for entry in given:
        if not isinstance(entry, str) or not 0 < len(entry) <= MAX_NAME or not entry.isprintable():
            raise refuse(name, entry, f"names of 1 to {MAX_NAME} printable characters in the list")
    return tuple(given)


def _expressions(name: str, entries: tuple[str, ...], wrap: str) -> None:
    """A list whose entries peft runs as expressions, each inside `wrap`."""
    if len(entries) > MAX_EXPRESSIONS:
        raise refuse(name, list(entries), f"at most {MAX_EXPRESSIONS} entries")
    for entry in entries:
        patterns.check_pattern(entry, field=name, wrap=wrap)
    patterns.check_total((wrap.replace("{}", entry) for entry in entries), field=name)


def _pattern(raw: dict[str, Any], name: str, check: Callable[[str, object], Any]) -> dict[str, Any]:
    given = raw.get(name, {})
    if not isinstance(given, dict) or len(given) > MAX_LIST:
        raise refuse(name, given, "an object from module names to numbers", "Write {} for no exceptions.")
    for key, value in given.items():
        if not key:
            raise refuse(name, key, "module names or regular expressions as its keys")
        check(f"{name}[{shorten(key)}]", value)
        patterns.check_pattern(key, field=name, wrap=patterns.KEY_WRAP)
    patterns.check_total(given, field=name)
    return dict(given)


def _rank(name: str, given: object) -> int:
    if isinstance(given, bool) or not isinstance(given, int) or not 1 <= given <= MAX_RANK:
        raise refuse(name, given, f"a whole number from 1 to {MAX_RANK}")
    return given


def _alpha(name: str, given: object) -> float:
    if not _is_number(given) or not 0 < given <= 1e9:  # type: ignore[operator]
        raise refuse(name, given, "a number above 0 and at most 1e9")
    return given  # type: ignore[return-value]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_index(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < MAX_LIST


def _flag(raw: dict[str, Any], name: str) -> bool:
    given = raw.get(name)
    if given is not None and not isinstance(given, bool):
        raise refuse(name, given, "true or false")
    return bool(given)


def _choice(raw: dict[str, Any], name: str, allowed: Iterable[str]) -> str | None:
    given = raw.get(name)
    if given is None:
        return None
    if not isinstance(given, str) or given not in allowed:
        raise refuse(name, given, f"one of {', '.join(sorted(allowed))}")
    return given
