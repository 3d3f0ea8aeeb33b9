"""An uploaded PEFT adapter, from its files to its facts, without torch and without holding its weights.

The cheap checks come first: names and first bytes, the config, the header. Only what passes them is read through once
for NaN and infinity. Nothing is imported, unpacked or fetched.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from composition.errors import CompositionError
from composition.facts import AdapterFacts, ModuleFacts
from composition.formats import finite
from composition.formats.content import SNIFF_BYTES, check_paths, sniff
from composition.formats.mixture.files import check_assembly, check_loader
from composition.formats.peft import fit
from composition.formats.peft.config import CONFIG_FILE, MAX_CONFIG, PeftConfig, parse_peft_config
from composition.formats.peft.fields import refuse_code
from composition.formats.peft.norms import update_norm
from composition.formats.peft.patterns import Budget, check_names
from composition.formats.peft.tensors import Tensors, check_pairs, first_three, is_target_parameter, sort_tensors
from composition.formats.peft.types import MIXTURES, reason_for
from composition.formats.safetensors_header import MAX_HEADER, SafetensorsHeader, parse_header
from composition.formats.sources import Files
from composition.formats.strict_json import strict_loads

WEIGHTS_FILE = "adapter_model.safetensors"
WEIGHT_ENDINGS = (".safetensors", ".gguf")
SIDE_CONFIGS = ("config.json", "tokenizer_config.json", "processor_config.json", "preprocessor_config.json")
MAX_SIDE_CONFIG = 4 * 1024 * 1024
TAIL_BYTES = 64 * 1024


def validate_adapter(
    files: Files, *, base_shapes: Mapping[str, Sequence[int]] | None = None, max_header: int = MAX_HEADER
) -> AdapterFacts:
    """Check the files of one adapter, and that it fits a base of `base_shapes` (`base_models.module_shapes`).

    Raises CompositionError `path.*`, `content.*`, `config.*`, `safetensors.*`, `adapter.*`, whose facts name `file`,
    and `tensors` (the first three offenders).
    """
    check_content(files)
    _check_names(files)
    with files[CONFIG_FILE].open() as stream:
        config = parse_peft_config(stream.read(MAX_CONFIG + 1))
    source = files[WEIGHTS_FILE]
    with source.open() as stream:
        header = parse_header(stream, size=source.size, max_header=max_header, file=WEIGHTS_FILE)
        _check_some(header)
        found, warnings, mixture = Tensors(), list(config.warnings), {}
        if config.is_lora:
            found = _check_lora(header, config, base_shapes, warnings)
        elif config.peft_type in MIXTURES:
            mixture = check_assembly(header, config.raw, base_shapes, file=WEIGHTS_FILE)
        elif base_shapes is not None:
            warnings.append(f"It is a {config.peft_type} adapter; whether it fits the base was not checked.")
        try:
            broken, zero = finite.scan(stream, header)
            sizes = {} if broken else {name: update_norm(stream, header, pair) for name, pair in found.pairs.items()}
        except finite.Truncated:
            raise CompositionError(
                "safetensors.truncated", f"{WEIGHTS_FILE} ends early. Upload it again.", file=WEIGHTS_FILE
            ) from None
    if broken:
        raise CompositionError(
            "adapter.not_finite",
            f"{WEIGHTS_FILE} holds NaN or infinity in {first_three(broken)}. The training diverged, or float16 was too "
            "narrow: save a healthy checkpoint, or save as float32.",
            file=WEIGHTS_FILE,
            tensors=broken[:3],
            count=len(broken),
        )
    if found.pairs and all(pair.names["B"] in zero for pair in found.pairs.values()):
        warnings.append("Every lora_B is zero, so the adapter changes nothing. Was it trained?")
    facts = _facts(header, config, found, sizes, [*warnings, *found.warnings], source.size)
    return replace(facts, modules=mixture, target_modules=_last_names(mixture)) if mixture else facts


def check_content(files: Files) -> None:
    """Names, first and last bytes of every file, and that no config beside the adapter's asks for code."""
    check_paths(list(files))
    for path, source in files.items():
        check_loader(path, source)
        with source.open() as stream:
            first = stream.read(SNIFF_BYTES)
            stream.seek(max(0, source.size - TAIL_BYTES))
            last = stream.read(TAIL_BYTES) if not path.endswith(WEIGHT_ENDINGS) else b""
        sniff(path, first, last, size=source.size)
        if path.rpartition("/")[2] in SIDE_CONFIGS and source.size <= MAX_SIDE_CONFIG:
            with source.open() as stream:
                raw = strict_loads(stream.read(MAX_SIDE_CONFIG), area="content", what=path, file=path)
            refuse_code(raw if isinstance(raw, dict) else {"content": raw}, path)


def _check_names(files: Files) -> None:
    for name in (CONFIG_FILE, WEIGHTS_FILE):
        if name not in files:
            there = first_three(sorted(files)) or "nothing"
            raise CompositionError(
                "adapter.file_missing",
                f"The upload has no {name} at its top; it has {there}. "
                "Push the folder that peft's save_pretrained wrote.",
                file=name,
                files=sorted(files)[:20],
            )
    others = sorted(name for name in files if name.lower().endswith(WEIGHT_ENDINGS) and name != WEIGHTS_FILE)
    if others:
        raise CompositionError(
            "adapter.extra_weights",
            f"Weights lie in {first_three(others)} beside {WEIGHTS_FILE}. An adapter is one file of weights: "
            "leave the others out, or push them as adapters of their own.",
            file=others[0],
            files=others[:3],
        )


def _check_some(header: SafetensorsHeader) -> None:
    if not header.tensors:
        raise CompositionError(
            "adapter.no_factors", f"{WEIGHTS_FILE} holds no tensor. Save it again.", file=WEIGHTS_FILE
        )
    empty = [name for name, tensor in header.tensors.items() if not tensor.elements]
    if empty:
        raise CompositionError(
            "adapter.empty_tensor",
            f"{WEIGHTS_FILE} holds tensors without a value: {first_three(empty)}. Sharded training leaves them "
            "behind: gather the weights first and save again.",
            file=WEIGHTS_FILE,
            tensors=empty[:3],
            count=len(empty),
        )


def _check_lora(
    header: SafetensorsHeader,
    config: PeftConfig,
    base_shapes: Mapping[str, Sequence[int]] | None,
    warnings: list[str],
) -> Tensors:
    check_names(config.expressions, max(map(len, header.tensors)))
    budget = Budget()
    found = sort_tensors(header, config, budget, file=WEIGHTS_FILE)
    check_pairs(found, config, budget, file=WEIGHTS_FILE)
    fit.check_targets(found, config, budget)
    if base_shapes is not None:
        warnings += fit.check_base(found, config, base_shapes, budget)
    return found


def _facts(
    header: SafetensorsHeader,
    config: PeftConfig,
    found: Tensors,
    sizes: Mapping[str, float | None],
    warnings: list[str],
    size: int,
) -> AdapterFacts:
    modules = {}
    for name, pair in found.pairs.items():
        assert pair.A is not None
        assert pair.B is not None
        experts = is_target_parameter(name, config)
        rank = config.rank(name) if experts else pair.A.shape[0]
        scale, size_of = config.scale(name, rank), sizes[name]
        modules[name] = ModuleFacts(
            r=rank,
            in_features=pair.A.shape[1],
            out_features=pair.B.shape[0],
            scale=scale,
            norm=None if experts or size_of is None else abs(scale) * size_of,
        )
    dtypes = Counter[str]()
    for tensor in header.tensors.values():
        dtypes[tensor.dtype] += tensor.elements
    if len(dtypes) > 1 and config.peft_type not in MIXTURES:  # whose gates are float32 whatever the experts are
        warnings.append(f"The weights mix dtypes: {', '.join(sorted(dtypes))}.")
    unmatched = sorted(set(config.rank_pattern) - config.rank_keys_of(modules))
    if unmatched:
        warnings.append(f"rank_pattern names no adapted module by {first_three(unmatched)}.")
    return AdapterFacts(
        peft_type=config.peft_type,
        modules=dict(sorted(modules.items())),
        dtype=dtypes.most_common(1)[0][0],
        parameters=sum(tensor.elements for tensor in header.tensors.values()),
        bytes=size,
        target_modules=_last_names(modules),
        lora_alpha=config.lora_alpha if config.is_lora else None,
        use_rslora=config.use_rslora,
        task_type=config.task_type,
        base_model_name=config.base_model_name,
        needs_base=_reasons(config, found),
        warnings=warnings,
    )


def _last_names(modules: Mapping[str, ModuleFacts]) -> list[str]:
    return sorted({name.rpartition(".")[2] for name in modules})


def _reasons(config: PeftConfig, found: Tensors) -> list[dict[str, str]]:
    """What the config says and what the tensors add, one entry a code."""
    tables = [name for name, pair in found.pairs.items() if pair.table]
    convolutions = [name for name, pair in found.pairs.items() if pair.A and len(pair.A.shape) > 2]
    reasons = config.needs_base()
    named = {"embedding": tables, "conv": convolutions, **found.whole}
    reasons += [reason_for(code, first_three(names)) for code, names in named.items() if names]
    return list({entry["code"]: entry for entry in reversed(reasons)}.values())[::-1]
