"""An uploaded PEFT adapter, from its files to its facts, without torch and without holding its weights.

The cheap checks come first: names and first bytes, the config, the header. Only what passes them is read through once
for NaN and infinity. Nothing is imported, unpacked or fetched.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from composition.base_shapes import BaseShapes
from composition.errors import CompositionError
from composition.facts import AdapterFacts, ModuleFacts
from composition.formats import finite
from composition.formats.gate import check_content
from composition.formats.peft.checks.folder import check_beside, not_finite
from composition.formats.peft.checks.folder import check_names as check_folder_names
from composition.formats.peft.config import MAX_CONFIG, PeftConfig, parse_peft_config
from composition.formats.peft.judging import check_lora
from composition.formats.peft.names import CONFIG_FILE, ORIGINAL, WEIGHTS_FILE
from composition.formats.peft.norms import look
from composition.formats.peft.tensors import Tensors, first_three
from composition.formats.peft.types import MIXTURES, reason_for
from composition.formats.safetensors_header import MAX_HEADER, MAX_TENSORS, SafetensorsHeader, parse_header
from composition.formats.sources import Files, read_start
from composition.formats.table import BaseName

TENSORS_A_PLACE = 3
"""A, B, and one more for what some methods add."""
BYTES_A_TENSOR = 200

Judge = Callable[[SafetensorsHeader, PeftConfig, list[str]], Tensors]
"""(header, config, warnings to add to) → the factors found."""


def validate_peft(files: Files, *, base_shapes: Mapping[str, Sequence[int]] | None = None) -> AdapterFacts:
    """Check the files of one adapter, and that it fits a base of `base_shapes` (`base_models.module_shapes`).

    Raises what `check_folder` raises; facts name `file`, and `tensors` (the first three offenders).
    """

    base = None if base_shapes is None else BaseShapes.of(base_shapes)

    def judge(header: SafetensorsHeader, config: PeftConfig, warnings: list[str]) -> Tensors:
        if config.is_lora:
            return check_lora(header, config, base, warnings)
        if base_shapes is not None:
            warnings.append(f"It is a {config.peft_type} adapter; whether it fits the base was not checked.")
        return Tensors(config)

    return check_folder(files, judge, places=base.layout.places if base is not None else 0)


def check_folder(files: Files, judge: Judge, *, places: int = 0) -> AdapterFacts:
    """What every folder of PEFT's layout passes; `judge` says what the tensors in the header are.

    `places` is how many matrices of the base can have factors: one with many experts lets a larger header in.
    Raises CompositionError `path.*`, `content.*`, `config.*`, `safetensors.*`, `adapter.*`, and what `judge` raises.
    """
    check_content(files)
    beside = check_folder_names(files)
    config = read_config(files)
    source = files[WEIGHTS_FILE]
    with source.open() as stream:
        most = max(MAX_TENSORS, places * TENSORS_A_PLACE)
        most_bytes = max(MAX_HEADER, most * BYTES_A_TENSOR if most > MAX_TENSORS else 0)
        header = parse_header(stream, size=source.size, max_header=most_bytes, max_tensors=most, file=WEIGHTS_FILE)
        _check_some(header)
        warnings = list(config.warnings)
        found = judge(header, config, warnings)
        try:
            plain = {name: pair for name, pair in found.pairs.items() if not found.is_parameter(name)}
            sizes, known = look(source, header, plain)
            broken, zero = finite.scan(stream, header, known=known)
        except finite.Truncated:
            raise CompositionError(
                "safetensors.truncated", f"{WEIGHTS_FILE} ends early. Upload it again.", file=WEIGHTS_FILE
            ) from None
    if broken:
        raise not_finite(WEIGHTS_FILE, broken)
    if found.pairs and all(zero.issuperset(pair.stored["B"]) for pair in found.pairs.values()):
        warnings.append("Every lora_B is zero, so the adapter changes nothing. Was it trained?")
    warnings += [*found.warnings, *check_beside(files, beside)]
    return _facts(header, config, found, sizes, warnings, source.size)


def read_config(files: Files) -> PeftConfig:
    """The config among the files. Raises CompositionError `config.*`."""
    source = files[CONFIG_FILE]
    return parse_peft_config(read_start(source, MAX_CONFIG + 1), size=source.size)


def base_of(files: Files) -> BaseName | None:
    """The base that the config names; None where the config is missing. Raises CompositionError `config.*`."""
    if CONFIG_FILE not in files:
        return None
    config = read_config(files)
    revision = config.raw.get("revision")
    return BaseName(config.base_model_name, revision if isinstance(revision, str) else None)


def is_content(path: str) -> bool:
    """Whether a file makes a version: the config at the top, and weights in any folder but that of the originals."""
    return path == CONFIG_FILE or (path.lower().endswith(".safetensors") and not path.startswith(ORIGINAL))


def _check_some(header: SafetensorsHeader) -> None:
    if not header.tensors:
        raise CompositionError(
            "adapter.no_factors", f"{WEIGHTS_FILE} holds no tensors. Save it again.", file=WEIGHTS_FILE
        )
    empty = [name for name, tensor in header.tensors.items() if not tensor.elements]
    if empty:
        raise CompositionError(
            "adapter.empty_tensor",
            f"{WEIGHTS_FILE} holds tensors without values: {first_three(empty)}. Sharded training leaves them "
            "behind: gather the weights first and save again.",
            file=WEIGHTS_FILE,
            tensors=empty[:3],
            count=len(empty),
        )


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
        rank = found.rank(name) if found.is_parameter(name) else pair.A.shape[0]
        scale, size_of = found.scale(name, rank), sizes.get(name)
        modules[name] = ModuleFacts(
            r=rank,
            in_features=pair.A.shape[1],
            out_features=pair.B.shape[0],
            scale=scale,
            norm=None if size_of is None else abs(scale) * size_of,
        )
    dtypes = Counter[str]()
    for tensor in header.tensors.values():
        dtypes[tensor.dtype] += tensor.elements
    if len(dtypes) > 1 and config.peft_type not in MIXTURES:  # a mixture's gates are float32, whatever its experts are
        warnings.append(f"The weights mix dtypes: {', '.join(sorted(dtypes))}.")
    unmatched = sorted(set(config.rank_pattern) - config.rank_keys_of(modules))
    if unmatched:
        warnings.append(f"rank_pattern has keys that match no adapted module: {first_three(unmatched)}.")
    return AdapterFacts(
        peft_type=config.peft_type,
        modules=dict(sorted(modules.items())),
        dtype=dtypes.most_common(1)[0][0],
        parameters=sum(tensor.elements for tensor in header.tensors.values()),
        bytes=size,
        target_modules=last_names(modules),
        r=config.r if config.is_lora else None,
        lora_alpha=config.lora_alpha if config.is_lora else None,
        use_rslora=config.use_rslora,
        task_type=config.task_type,
        base_model_name=config.base_model_name,
        needs_base=_reasons(config, found),
        warnings=warnings,
    )


def last_names(modules: Mapping[str, ModuleFacts]) -> list[str]:
    """The modules' last names, each once, sorted: what a config's target_modules would say."""
    return sorted({name.rpartition(".")[2] for name in modules})


def _reasons(config: PeftConfig, found: Tensors) -> list[dict[str, str]]:
    """What the config says and what the tensors add, one entry a code."""
    tables = [name for name, pair in found.pairs.items() if pair.table]
    convolutions = [name for name, pair in found.pairs.items() if pair.A and len(pair.A.shape) > 2]
    reasons = found.config.needs_base()
    named = {"embedding": tables, "conv": convolutions, **found.whole}
    reasons += [reason_for(code, first_three(names)) for code, names in named.items() if names]
    return list({entry["code"]: entry for entry in reversed(reasons)}.values())[::-1]
