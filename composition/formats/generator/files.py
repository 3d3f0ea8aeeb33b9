"""An uploaded generator, from its files to its facts: torch-free, headers alone.

generator_config.json      base, adapted layers, sizes, training record; see `config`
generator.safetensors      {module}.A1 [R1, in], .A2 [R1, D], .A3 [R2, D], .B [out, R2], .norm [D], one dtype
README.md                  the card
"""

from collections.abc import Mapping, Sequence
from typing import Any

from composition.errors import CompositionError
from composition.facts import GeneratorFacts
from composition.formats.content import DOCUMENTS, IMAGES, extension
from composition.formats.gate import check_content
from composition.formats.generator.config import CONFIG_FILE, WEIGHTS_FILE, GeneratorConfig
from composition.formats.peft.tensors import first_three
from composition.formats.safetensors_header import SafetensorsHeader, parse_header
from composition.formats.sources import Files
from composition.formats.strict_json import shorten, strict_loads
from composition.formats.table import BaseName

FLOATS = ("F32", "F16", "BF16")
MAX_CONFIG = 8 * 1024 * 1024


def validate_generator(files: Files, *, base_shapes: Mapping[str, Sequence[int]] | None = None) -> GeneratorFacts:
    """Check config and tensor headers, and that they fit the base's shapes ({name: [out, in]}) if these are given.

    Raises CompositionError `path.*`, `content.*`, `safetensors.*`, and `generator.missing_file`, `.extra_file`,
    `.config`, `.version`, `.tensors`, `.dtype`, `.shape`.
    """
    check_content(files)
    for name in (CONFIG_FILE, WEIGHTS_FILE):
        if name not in files:
            raise CompositionError(
                "generator.missing_file",
                f"The upload has no {name}. A generator is {CONFIG_FILE} and {WEIGHTS_FILE}, as training wrote them.",
                file=name,
            )
    for name in files:
        if name != WEIGHTS_FILE and extension(name) not in DOCUMENTS | IMAGES | {""}:
            raise CompositionError(
                "generator.extra_file",
                f"{shorten(name)} does not belong to a generator. Leave it out.",
                file=name,
            )
    config = read_config(files)
    with files[WEIGHTS_FILE].open() as stream:
        header = parse_header(stream, size=files[WEIGHTS_FILE].size, file=WEIGHTS_FILE)
    dtype = check_tensors(config, header)
    if base_shapes is not None:
        check_base(config, base_shapes)
    layers = len(config.modules)
    return GeneratorFacts(
        base_model_name=config.base_model,
        modules=list(config.modules),
        sizes={
            name: getattr(config, name)
            for name in ("hidden", "in_features", "out_features", "inner", "r", "rank", "alpha", "norm", "shift")
        },
        dtype=dtype,
        parameters=config.parameters,
        bytes=sum(tensor.end - tensor.begin for tensor in header.tensors.values()),
        adapter_rank=config.adapter_rank,
        adapter_parameters=layers * config.adapter_rank * (config.in_features + config.out_features),
        training=_without_curves(config.training),
    )


def _without_curves(training: Mapping[str, Any]) -> dict[str, Any]:
    """A training's record without its curve; so too the record of the training that it continued."""
    kept = {key: value for key, value in training.items() if key != "curve"}
    if isinstance(kept.get("before"), dict):
        kept["before"] = _without_curves(kept["before"])
    return kept


def read_config(files: Files) -> GeneratorConfig:
    """The config among the files. Errors: `generator.config`, `generator.version`."""
    source = files[CONFIG_FILE]
    if source.size > MAX_CONFIG:
        raise CompositionError(
            "generator.config",
            f"{CONFIG_FILE} has {source.size:,} bytes; at most {MAX_CONFIG:,} are read. Shorten its training record.",
            file=CONFIG_FILE,
        )
    with source.open() as stream:
        return GeneratorConfig.from_dict(strict_loads(stream.read(), area="generator", what=CONFIG_FILE))


def base_of(files: Files) -> BaseName | None:
    """The base that the config names; None where the config is missing. Errors: those of `read_config`."""
    return BaseName(read_config(files).base_model) if CONFIG_FILE in files else None


def is_content(path: str) -> bool:
    """Whether a file makes a version: the config at the top, and weights in any folder."""
    return path == CONFIG_FILE or path.lower().endswith(".safetensors")


def check_tensors(config: GeneratorConfig, header: SafetensorsHeader) -> str:
    """The one dtype of the tensors, whose names and shapes are exactly the config's."""
    wanted = {f"{module}.{part}": shape for module in config.modules for part, shape in config.shapes().items()}
    for problem, names in (
        ("lacks", [name for name in wanted if name not in header.tensors]),
        ("has tensors that the config does not name:", [name for name in header.tensors if name not in wanted]),
    ):
        if names:
            raise _tensors("generator.tensors", f"{problem} {first_three(names)}", names)
    wrong = [name for name, shape in wanted.items() if header.tensors[name].shape != shape]
    if wrong:
        first = wrong[0]
        given = f"{shorten(first)} is {list(header.tensors[first].shape)}, not {list(wanted[first])}"
        raise _tensors("generator.tensors", f"has {len(wrong)} tensors of another shape: {given}", wrong)
    dtypes = sorted({tensor.dtype for tensor in header.tensors.values()})
    if len(dtypes) != 1 or dtypes[0] not in FLOATS:
        raise _tensors("generator.dtype", f"holds {', '.join(dtypes)}; expected one of {', '.join(FLOATS)}", dtypes)
    return dtypes[0]


def check_base(config: GeneratorConfig, base_shapes: Mapping[str, Sequence[int]]) -> None:
    """Refuse a base whose layers ({name: [out, in]}) are not the generator's: `generator.shape`."""
    expected = [config.out_features, config.in_features]
    wrong = [
        {"module": module, "given": expected, "expected": list(base_shapes.get(module, ())) or None}
        for module in config.modules
        if list(base_shapes.get(module, ())) != expected
    ]
    if wrong:
        told = "; ".join(f"{r['module']} is {r['given']}, the base has {r['expected'] or 'none'}" for r in wrong[:3])
        raise CompositionError(
            "generator.shape",
            f"{len(wrong)} of the generator's layers do not fit this base: {told}. A generator works on the base that "
            f"it was trained on, {shorten(config.base_model)}; train one for another base with train-generator.",
            tensors=wrong[:3],
            count=len(wrong),
        )


def _tensors(code: str, problem: str, names: Sequence[str]) -> CompositionError:
    return CompositionError(
        code,
        f"{WEIGHTS_FILE} {problem}. Push the folder as training wrote it.",
        file=WEIGHTS_FILE,
        tensors=list(names[:3]),
        count=len(names),
    )
