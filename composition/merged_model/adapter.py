"""An adapter's folder as changes to modules: low-rank products with their scale, whole tensors, replaced rows.

The rules are peft 0.21's: `get_pattern_key` for patterns, alpha / r or alpha / √r, names as `save_pretrained` writes
them. What a merge can't express exactly is refused with the reason.
"""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .refusal import ExportRefused
from .stored import FLOATS, Stored, read_header, read_json

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
PREFIX = "base_model.model."

# Fields that change nothing about what is merged, or that are read below.
READ = frozenset(
    """
    alpha_pattern auto_mapping base_model_name_or_path bias ensure_weight_tying eva_config exclude_modules
    fan_in_fan_out inference_mode init_lora_weights layers_pattern layers_to_transform lora_alpha lora_bias lora_dropout
    megatron_core modules_to_save peft_type peft_version qalora_group_size r rank_pattern revision runtime_config
    target_modules task_type use_dora use_rslora loftq_config
    """.split()
)
# Starts after which the base is another one: peft replaces it by what the start leaves over.
CHANGES_THE_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga", "orthogonal_base")

_LOW = re.compile(
    r"(?P<module>.+)\.(?:lora_(?P<half>[AB])(?:\.default)?\.(?P<what>weight|bias)"
    r"|lora_embedding_(?P<table>[AB])(?:\.default)?"
    r"|(?P<magnitude>lora_magnitude_vector)(?:\.default)?(?:\.weight)?)"
)


@dataclass(slots=True)
class LowRank:
    """ΔW = scale · B @ A of one module; `table` says that it is an embedding, whose ΔW stands transposed."""

    scale: float = 1.0
    table: bool = False
    A: Stored | None = None
    B: Stored | None = None
    bias: Stored | None = None
    magnitude: Stored | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """(out, in) of ΔW."""
        assert self.A is not None and self.B is not None
        return self.B.shape[0], self.A.shape[1]


@dataclass
class Adapter:
    """`low` by module, `whole` by the tensor's own name (module + .weight or .bias).

    `under` are those of `whole` that lie under a LoRA: peft saves an embedding's own weight beside its factors.
    """

    folder: Path
    config: dict[str, Any]
    low: dict[str, LowRank] = field(default_factory=dict)
    whole: dict[str, Stored] = field(default_factory=dict)
    under: set[str] = field(default_factory=set)


def read_adapter_folder(folder: Path) -> Adapter:
    """Raises ExportRefused `adapter`, `not_lora`, `method`, `start`, `json`, `weights`."""
    if not (folder / CONFIG).is_file() or not (folder / WEIGHTS).is_file():
        raise ExportRefused("adapter", f"{folder} is no PEFT adapter's folder; expected {CONFIG} and {WEIGHTS} in it.")
    config = read_json(folder / CONFIG)
    _check_method(config)
    adapter = Adapter(folder, config)
    tensors, _ = read_header(folder / WEIGHTS)
    bare = next((name for name in tensors if not name.startswith(PREFIX)), None)
    if bare is not None:
        raise ExportRefused(
            "adapter",
            f"{folder / WEIGHTS} holds {bare}, which does not begin with {PREFIX}: PEFT would not load it. "
            "Rename its tensors, or save the adapter with peft's save_pretrained.",
        )
    for name, tensor in tensors.items():
        _sort(adapter, name.removeprefix(PREFIX), tensor)
    for module, low in adapter.low.items():
        _check_pair(module, low, rank_of(config, module))
        low.scale = scale_of(config, module)
        if low.magnitude is not None and low.table:
            raise ExportRefused("method", f"{module} is an embedding with DoRA, which is not merged here. {_BY_PEFT}")
        if low.magnitude is None and config.get("use_dora"):
            raise ExportRefused("adapter", f"{module} has no lora_magnitude_vector, though use_dora is true.")
    return adapter


_BY_PEFT = "Merge it with peft: PeftModel.from_pretrained(base, FOLDER).merge_and_unload()."


def _check_method(config: Mapping[str, Any]) -> None:
    if config.get("peft_type") != "LORA":
        raise ExportRefused(
            "not_lora",
            f"The adapter is of type {config.get('peft_type')!r}; only a LoRA is merged into its base. Of a mixture, "
            "fetch one LoRA first: hubctl pull NAME --as cat -o FOLDER.",
        )
    start = config.get("init_lora_weights")
    if isinstance(start, str) and start.lower().startswith(CHANGES_THE_BASE):
        raise ExportRefused(
            "start",
            f"The adapter began as {start}, which replaces the base's weights: added to the base it would be wrong. "
            "Save it with peft's path_initial_model_for_weight_conversion, push that, and merge the new version.",
        )
    on = sorted(name for name, value in config.items() if name not in READ and value not in (None, False, [], {}))
    if on:
        raise ExportRefused(
            "method", f"adapter_config.json sets {', '.join(on[:3])}, which is not merged here. {_BY_PEFT}"
        )


def _sort(adapter: Adapter, name: str, tensor: Stored) -> None:
    match = _LOW.fullmatch(name)
    if match is None:
        if ".lora_" in name or "token_adapter" in name:
            raise ExportRefused("method", f"{tensor.file} holds {name}, which is not merged here. {_BY_PEFT}")
        own = name.replace(".modules_to_save.default.", ".").replace(".base_layer.", ".")
        adapter.whole[own] = tensor
        if ".base_layer." in name:
            adapter.under.add(own)
        return
    low = adapter.low.setdefault(match["module"], LowRank())
    if match["magnitude"]:
        low.magnitude = tensor
    elif match["what"] == "bias":
        low.bias = tensor
    else:
        low.table = bool(match["table"])
        setattr(low, match["half"] or match["table"], tensor)


def _check_pair(module: str, low: LowRank, rank: int) -> None:
    if low.A is None or low.B is None:
        raise ExportRefused("adapter", f"{module} has only one of its two factors. Fetch the adapter again.")
    if low.A.dtype not in FLOATS or low.B.dtype not in FLOATS:
        raise ExportRefused("adapter", f"{module} is stored as {low.A.dtype}; expected one of {', '.join(FLOATS)}.")
    if len(low.A.shape) != 2 or len(low.B.shape) != 2:
        raise ExportRefused("method", f"{module} is a convolution, which is not merged here. {_BY_PEFT}")
    if not low.A.shape[0] == low.B.shape[1] == rank:
        raise ExportRefused(
            "adapter",
            f"{module}: A is {list(low.A.shape)} and B {list(low.B.shape)}, and the config says rank {rank}. "
            f"Use the {CONFIG} that the adapter was saved with.",
        )


def scale_of(config: Mapping[str, Any], module: str) -> float:
    """alpha / r, or alpha / √r for rsLoRA, with the patterns' values; computed as peft does, in double precision."""
    rank = rank_of(config, module)
    alpha = _by_pattern(config.get("alpha_pattern") or {}, module, config.get("lora_alpha", 8))
    return alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)


def rank_of(config: Mapping[str, Any], module: str) -> int:
    """The module's rank by `rank_pattern` and `r`."""
    return _by_pattern(config.get("rank_pattern") or {}, module, config.get("r", 8))


def _by_pattern(pattern: Mapping[str, Any], module: str, default: Any) -> Any:
    return pattern.get(_first(pattern, module), default)


def _first(keys: Iterable[str], module: str) -> str:
    return next((key for key in keys if re.match(rf"(.*\.)?({key})$", module)), module)
