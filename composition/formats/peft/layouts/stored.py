"""A plain LoRA as it is stored, opened for writing it in another form: config, header and factors; torch-free."""

from collections.abc import Mapping
from dataclasses import dataclass

from composition.errors import CompositionError
from composition.facts import ModuleFacts
from composition.formats.made_files import FLOATS
from composition.formats.peft.config import MAX_CONFIG, PeftConfig, parse_peft_config
from composition.formats.peft.names import CONFIG_FILE, WEIGHTS_FILE, parse_factor
from composition.formats.peft.types import reason_for
from composition.formats.safetensors_header import HIGHEST_MAX_HEADER, SafetensorsHeader, TensorInfo, parse_header
from composition.formats.sources import Files, FileSource, read_start

DTYPES = ("BF16", *FLOATS)


@dataclass(frozen=True, slots=True)
class StoredLora:
    """A plain LoRA's config, the header of its weights, its factors by module, and where their bytes are."""

    config: PeftConfig
    header: SafetensorsHeader
    pairs: Mapping[str, tuple[TensorInfo, TensorInfo]]
    source: FileSource

    def scale(self, module: str) -> float:
        """The s of ΔW = s · B @ A."""
        return self.config.scale(module, self.pairs[module][0].shape[0])

    def facts(self) -> dict[str, ModuleFacts]:
        """Module → rank, features, scale, sorted by name."""
        return {
            module: ModuleFacts(r=a.shape[0], in_features=a.shape[1], out_features=b.shape[0], scale=self.scale(module))
            for module, (a, b) in self.pairs.items()
        }


def open_plain(files: Files) -> StoredLora:
    """The plain LoRA among these files, by its headers alone; its factors may be those of convolutions.

    Raises CompositionError `config.*`, `safetensors.*`, and `form.not_plain` with the reason where the adapter is more
    than A, B and a scale.
    """
    for name in (CONFIG_FILE, WEIGHTS_FILE):
        if name not in files:
            raise not_plain(f"there is no {name}")
    config = parse_peft_config(read_start(files[CONFIG_FILE], MAX_CONFIG + 1), size=files[CONFIG_FILE].size)
    needs = config.needs_base()
    if needs:
        raise not_plain(needs[0]["reason"], needs[0]["do"])
    source = files[WEIGHTS_FILE]
    with source.open() as stream:
        header = parse_header(stream, size=source.size, max_header=HIGHEST_MAX_HEADER, file=WEIGHTS_FILE)
    halves = _halves(header)
    lone = next((module for module, pair in halves.items() if len(pair) < 2), None)
    if lone:
        raise not_plain(f"{lone} has only one of its factors")
    if not halves:
        raise not_plain("it holds no LoRA factors")
    pairs = {module: (pair["A"], pair["B"]) for module, pair in sorted(halves.items())}
    return StoredLora(config, header, pairs, source)


def read_stored(files: Files) -> StoredLora:
    """As `open_plain`, with factors that are matrices of the config's ranks, in a dtype that can be computed with."""
    stored = open_plain(files)
    for module, (a, b) in stored.pairs.items():
        if len(a.shape) != 2 or len(b.shape) != 2 or a.shape[0] != b.shape[1]:
            raise not_plain(f"the factors of {module} are not two matrices A [r, in] and B [out, r]")
        if a.shape[0] != stored.config.rank(module):
            raise not_plain(f"{module} has rank {a.shape[0]}, and the config says {stored.config.rank(module)}")
        if a.dtype not in DTYPES or b.dtype not in DTYPES:
            raise not_plain(f"{module} is stored as {a.dtype} and {b.dtype}; expected {', '.join(DTYPES)}")
    return stored


def _halves(header: SafetensorsHeader) -> dict[str, dict[str, TensorInfo]]:
    """Module → its factors by half."""
    factors = {name: parse_factor(name) for name in header.tensors}
    table = next((factor.module for factor in factors.values() if factor and factor.table), None)
    if table:
        raise not_plain(reason_for("embedding", table)["reason"])
    halves: dict[str, dict[str, TensorInfo]] = {}
    for name, factor in factors.items():
        if factor is None:
            raise not_plain(f"it holds {name}, which is no LoRA factor")
        if factor.half in halves.setdefault(factor.module, {}):
            raise not_plain(f"it holds lora_{factor.half} of {factor.module} twice")
        halves[factor.module][factor.half] = header.tensors[name]
    return halves


def not_plain(reason: str, do: str = "Take its files as they are.") -> CompositionError:
    """The refusal of an adapter that has no other form."""
    return CompositionError(
        "form.not_plain",
        f"Only a plain LoRA (A, B and a scale for each module) can be written in another form. This adapter is none: "
        f"{reason.rstrip('.')}. {do}",
    )
