"""An uploaded assembly (MeteoRA, SMoRA), from its files to its facts: config and stack, torch-free.

    base_model.model.{module}.meteora_A / smora_A      [R, in]     R = Σ r_i, as the config's ranks say
    …_B [out, R]      …_gate [n, in], SMoRA [R / rank_partition, in]      smora_bias [R]

It is kept in PEFT's two files, so `peft.files` makes the checks for every such folder.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from composition.errors import CompositionError
from composition.facts import AdapterFacts, ModuleFacts
from composition.formats.mixture.config import AssemblyConfig
from composition.formats.peft.config import MAX_CONFIG, PeftConfig
from composition.formats.peft.files import check_folder, last_names
from composition.formats.peft.names import CONFIG_FILE, WEIGHTS_FILE
from composition.formats.peft.tensors import FACTOR_DTYPES, Tensors, first_three
from composition.formats.peft.types import MIXTURES
from composition.formats.safetensors_header import SafetensorsHeader, TensorInfo
from composition.formats.sources import Files, read_start
from composition.formats.strict_json import shorten, strict_loads

MOST_EXPERTS = 4096

_TENSOR = re.compile(r"base_model\.model\.(?P<module>.+)\.(?P<prefix>meteora|smora)_(?P<part>A|B|gate|bias)")


def validate_mixture(files: Files, *, base_shapes: Mapping[str, Sequence[int]] | None = None) -> AdapterFacts:
    """Check the files of one mixture, and that it fits a base of `base_shapes` ({module: [out, in]}).

    Raises what `peft.files.check_folder` raises, and CompositionError `assembly.config`, `assembly.tensors`,
    `adapter.shape`.
    """
    modules: dict[str, ModuleFacts] = {}

    def judge(header: SafetensorsHeader, config: PeftConfig, warnings: list[str]) -> Tensors:
        modules.update(check_assembly(header, config.raw, base_shapes, file=WEIGHTS_FILE))
        return Tensors(config)

    facts = check_folder(files, judge)
    return replace(facts, modules=modules, target_modules=last_names(modules))


def is_mixture(files: Files) -> bool:
    """Whether the config is there and names a mixture."""
    if CONFIG_FILE not in files:
        return False
    try:
        raw = strict_loads(read_start(files[CONFIG_FILE], MAX_CONFIG), area="config", what=CONFIG_FILE)
    except CompositionError:
        return False
    return isinstance(raw, dict) and raw.get("peft_type") in tuple(MIXTURES)


def check_assembly(
    header: SafetensorsHeader, raw: Mapping, base_shapes: Mapping[str, Sequence[int]] | None, *, file: str
) -> dict[str, ModuleFacts]:
    """The modules of an assembly: r is Σ r_i, scale 1. Raises `assembly.config`, `.tensors`, `adapter.shape`."""
    config = _checked_config(raw)
    found: dict[str, dict[str, TensorInfo]] = {}
    unknown = []
    for name, tensor in header.tensors.items():
        match = _TENSOR.fullmatch(name)
        if match is None or f"{match['prefix']}_" != config.prefix:
            unknown.append(name)
            continue
        found.setdefault(match["module"], {})[match["part"]] = tensor
    if unknown:
        raise _tensors(file, unknown, f"names such as base_model.model.model.layers.0.mlp.up_proj.{config.prefix}A")
    parts = {"A", "B", "gate"} | ({"bias"} if config.peft_type == "SMORA" else set())
    cut = [f"{module} without {', '.join(sorted(parts - there.keys()))}" for module, there in found.items()]
    cut = [text for text, there in zip(cut, found.values(), strict=True) if there.keys() != parts]
    if cut or not found:
        raise _tensors(file, cut or ["no module"], f"{', '.join(sorted(parts))} for every module")
    wrong = [text for module, there in found.items() if (text := _misfit(config, module, there))]
    if wrong:
        raise _tensors(file, wrong, "the shapes that the experts' ranks give")
    modules = {
        module: ModuleFacts(
            r=there["A"].shape[0], in_features=there["A"].shape[1], out_features=there["B"].shape[0], scale=1.0
        )
        for module, there in sorted(found.items())
    }
    if base_shapes is not None:
        _check_base(modules, base_shapes)
    return modules


def _misfit(config: AssemblyConfig, module: str, parts: Mapping[str, TensorInfo]) -> str:
    """What is wrong with a module's tensors, or ""."""
    if bad := [part for part, tensor in parts.items() if tensor.dtype not in FACTOR_DTYPES]:
        return f"{module} has {bad[0]} as {parts[bad[0]].dtype}"
    total = sum(config.ranks(module))
    rows = len(config.experts) if config.peft_type == "METEORA" else total // config.partition
    if any(len(parts[part].shape) != 2 for part in ("A", "B", "gate")):
        return f"{module} has a factor that is not a matrix"
    width, height = parts["A"].shape[1], parts["B"].shape[0]
    wanted = {"A": (total, width), "B": (height, total), "gate": (rows, width), "bias": (total,)}
    for part, tensor in parts.items():
        if tuple(tensor.shape) != wanted[part]:
            return f"{module}.{config.prefix}{part} is {list(tensor.shape)}, not {list(wanted[part])}"
    return ""


def _check_base(modules: Mapping[str, ModuleFacts], shapes: Mapping[str, Sequence[int]]) -> None:
    wrong = []
    for name, module in modules.items():
        given, expected = [module.out_features, module.in_features], list(shapes.get(name, ()))
        if given != expected:
            wrong.append({"module": name, "given": given, "expected": expected or None})
    if wrong:
        told = "; ".join(
            f"{row['module']} is {row['given']}, expected {row['expected'] or 'none'}" for row in wrong[:3]
        )
        raise CompositionError(
            "adapter.shape",
            f"{len(wrong)} modules do not fit the base: {told}. Choose the base that the experts were trained on.",
            tensors=wrong[:3],
            count=len(wrong),
        )


def _checked_config(raw: Mapping) -> AssemblyConfig:
    """The config, with its experts, ranks and scales checked."""
    experts = raw.get("experts")
    if not isinstance(experts, list) or not 1 <= len(experts) <= MOST_EXPERTS:
        raise _config("experts", f"a list of 1 to {MOST_EXPERTS} experts", experts)
    for expert in experts:
        if not isinstance(expert, dict) or not isinstance(expert.get("name"), str) or not _rank(expert.get("r")):
            raise _config("experts", "objects with a name and a rank r", expert)
        if not any(_number(expert.get(key)) for key in ("scale", "lora_alpha")):
            raise _config("experts", "a lora_alpha for each expert", expert)
    if len({expert["name"] for expert in experts}) < len(experts):
        raise _config("experts", "each name once", [expert["name"] for expert in experts][:10])
    for field, good in (("rank_pattern", _rank), ("scale_pattern", _number)):
        pattern = raw.get(field) or {}
        if not isinstance(pattern, dict):
            raise _config(field, "an object", pattern)
        for module, values in pattern.items():
            if not isinstance(values, list) or len(values) != len(experts) or not all(map(good, values)):
                raise _config(field, f"{len(experts)} numbers for {module}", values)
    partition = raw.get("rank_partition", 1)
    if not _rank(partition) or partition < 1:
        raise _config("rank_partition", "a whole number from 1", partition)
    return AssemblyConfig(raw)


def _rank(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 1 << 20


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e30


def _config(field: str, expected: str, given: object) -> CompositionError:
    return CompositionError(
        "assembly.config",
        f"{CONFIG_FILE}: {field} must be {expected}, but is {shorten(given)}. Push the folder as assembling wrote it.",
        field=field,
    )


def _tensors(file: str, offenders: list[str], expected: str) -> CompositionError:
    return CompositionError(
        "assembly.tensors",
        f"{file}: {first_three(offenders)}; expected {expected}. Push the folder as assembling wrote it.",
        file=file,
        tensors=offenders[:3],
        count=len(offenders),
    )
