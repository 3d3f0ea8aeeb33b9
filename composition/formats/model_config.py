"""`config.json` of a base model from a stranger: what it may say, and what of it programs would act on.

`PretrainedConfig` (transformers 5.23) sets every key as an attribute, so a file can also choose the attention kernel
(which may be fetched and run), files to read instead of the weights, code to import or to fetch, plans that spread a
model over devices, and its own methods. Refused is what has no use in a base's description; dropped, with a note, what
ordinary files hold because an older transformers or a training run wrote it. Both hold at any depth, as in
`text_config`.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from composition.errors import CompositionError
from composition.formats.strict_json import shorten

REPO_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}(/[A-Za-z0-9][\w.-]{0,95})?", re.ASCII)
# A kernel is `org/name`, `org/name:function`, `org/name@revision`, or one of those behind `flash|`.
BUILT_IN = re.compile(r"[a-z][a-z0-9_]{0,40}", re.ASCII)

# Written by transformers about itself and its machine; they say nothing of the model.
DROPPED = frozenset(
    """
    _attn_implementation_autoset _commit_hash _flash_attn_2_enabled _from_auto _from_pipeline
    """.split()
)
# The choice of a kernel is the worker's. A built-in's name is dropped, anything else refused.
KERNELS = frozenset(
    """
    _attn_implementation attn_implementation _experts_implementation experts_implementation
    """.split()
)
REFUSED = {
    "auto_map": "names code to import",
    "trust_remote_code": "asks to run code that comes with a model",
    "_attn_implementation_internal": "names a kernel to load",
    "_experts_implementation_internal": "names a kernel to load",
    "kernel_config": "names kernels to load",
    "use_kernels": "asks for kernels to be fetched",
    "allow_all_kernels": "allows kernels of any origin",
    "hub_kernels": "names kernels to load",
    "fusion_config": "replaces classes of the program that loads it",
    "distributed_config": "spreads the model over machines",
    "device_map": "places the model on devices",
    "base_model_tp_plan": "spreads the model over devices",
    "base_model_pp_plan": "spreads the model over devices",
    "base_model_ep_plan": "spreads the model over devices",
    "base_model_fsdp_plan": "spreads the model over devices",
    "transformers_weights": "names another file to read weights from",
    "gguf_file": "names another file to read weights from",
    "extra_files": "names other files to read weights from",
    "extra_config_files": "names other files to read",
    "configuration_files": "names other files to read in its place",
    "adapter_kwargs": "names an adapter to load",
    "backbone": "names another model to fetch; give its config as backbone_config",
    "pretrained_cfg": "names another model to fetch",
    "attribute_map": "renames the fields of the config itself",
    "sub_configs": "replaces the classes of the config itself",
    "sub_configs_defaults": "replaces the classes of the config itself",
}
DTYPES = frozenset("float16 bfloat16 float32 float64 float8_e4m3fn float8_e5m2 int8 uint8 auto".split())
QUANT_METHOD = re.compile(r"[\w-]{1,40}", re.ASCII)
# Numbers that become loops: each of so many parts is an object, made before any weight is.
COUNTED = {
    re.compile(r"(^|_)(layers?|depth)$|^(num|n)_\w*layers"): 2048,
    re.compile(r"^(num|n)_.*(expert|block|stage|codebook)"): 65_536,
    re.compile(r"^num_labels$"): 100_000,
    re.compile(r"^attention_types$"): 2048,
}


@dataclass(frozen=True)
class Looked:
    """What is left of a config, and the fields that were dropped, as `text_config._attn_implementation`."""

    config: dict[str, object]
    dropped: list[str] = field(default_factory=list)


def look_at(config: Mapping[str, object]) -> Looked:
    """The config without what is dropped. Raises CompositionError `base.code` or `base.config`, with `where`.

    What is switched off (null, false, empty) is left alone.
    """
    looked = Looked({})
    looked.config.update(_object(config, "", looked.dropped))
    return looked


def _object(given: Mapping[str, object], above: str, dropped: list[str]) -> dict[str, object]:
    kept: dict[str, object] = {}
    for name, value in given.items():
        # Of a config that is no JSON, `id2label` is keyed by numbers.
        key, where = str(name), f"{above}{name}"
        if _is_dropped(key, value, where):
            dropped.append(where)
            continue
        _refuse_code(key, value, where)
        if key in CHECKS and value is not None and "quantization_config" not in above:
            CHECKS[key](value, where)
        _refuse_many(key, value, where)
        kept[name] = _inside(key, value, where, dropped)
    return kept


def _inside(key: str, value: object, where: str, dropped: list[str]) -> object:
    if isinstance(value, Mapping):
        return _object(value, f"{where}.", dropped)
    if isinstance(value, list):
        for item in value:
            _refuse_many(key, item, where)
        return [_inside(key, item, f"{where}.{place}", dropped) for place, item in enumerate(value)]
    return value


def _is_dropped(key: str, value: object, where: str) -> bool:
    if key in DROPPED:
        return True
    if key in ("_name_or_path", "name_or_path"):
        return not (isinstance(value, str) and REPO_ID.fullmatch(value) and ".." not in value)
    if key in KERNELS:
        for name in value.values() if isinstance(value, Mapping) else [value]:
            if name is not None and not (isinstance(name, str) and BUILT_IN.fullmatch(name)):
                raise _refusal(where, f"names a kernel to load, {shorten(name)}")
        return True
    return False


def _refuse_code(key: str, value: object, where: str) -> None:
    if key in REFUSED and value not in (None, False, "", [], {}):
        raise _refusal(where, REFUSED[key])
    if key.startswith("custom_") and isinstance(value, str | list | dict) and value:
        raise _refusal(where, "names code to import")
    # {"__float__": "Infinity"} is how transformers writes a number that JSON has none for.
    if key.startswith("__") and not (key == "__float__" and value in ("Infinity", "-Infinity", "NaN")):
        raise _refusal(where, "would replace a part of the program that reads it")


def _refusal(where: str, problem: str) -> CompositionError:
    return CompositionError(
        "base.code",
        f"config.json: {where} {problem}, which this hub never does. Remove the field if transformers knows the "
        "architecture without it; otherwise this base can't be registered.",
        where=where,
    )


def _dtype(value: object, where: str) -> None:
    if not isinstance(value, str) or value.removeprefix("torch.") not in DTYPES:
        raise CompositionError(
            "base.config",
            f"config.json: {where} is {shorten(value)}; expected one of {', '.join(sorted(DTYPES))}.",
            where=where,
        )


def _quantization(value: object, where: str) -> None:
    method = value.get("quant_method", "") if isinstance(value, Mapping) else None
    if method != "" and not (isinstance(method, str) and QUANT_METHOD.fullmatch(method)):
        raise CompositionError(
            "base.config",
            f"config.json: {where} is {shorten(value)}; expected an object whose quant_method is a name such as gptq.",
            where=where,
        )


CHECKS: dict[str, Callable[[object, str], None]] = {
    "dtype": _dtype,
    "torch_dtype": _dtype,
    "quantization_config": _quantization,
}


def _refuse_many(key: str, value: object, where: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return
    for pattern, most in COUNTED.items():
        if pattern.search(key) and value > most:
            raise CompositionError(
                "base.config",
                f"config.json asks for {where} = {shorten(value)}; at most {most:,} are accepted. "
                "Give the unchanged config.json of the base model.",
                where=where,
            )
