"""The `adapter_config.json` of an assembly: which experts are in which rows of a stack, with which scale. Torch-free.

    A = [A_1; …; A_n] [R, in]    B = [B_1, …, B_n] [out, R]    ΔW_i = s_i B_i A_i, unscaled factors

r_i and s_i of a module are those of `rank_pattern` and `scale_pattern` where they name it, otherwise the expert's own r
and `scale`, or lora_alpha / r (rsLoRA: / √r). A rank of 0 means that the expert leaves the module alone.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from composition.errors import CompositionError
from composition.formats.peft.names import CONFIG_FILE, PREFIX
from composition.formats.strict_json import shorten, strict_loads

ROUTER_FILE = "router.json"
LOADER_FILE = "lora_moe_peft.py"
FORMAT_VERSION = 1
PREFIXES = {"METEORA": "meteora_", "SMORA": "smora_"}


@dataclass(frozen=True)
class AssemblyConfig:
    """A config read into answers; `raw` is its JSON."""

    raw: Mapping[str, Any]

    @property
    def peft_type(self) -> str:
        return self.raw["peft_type"]

    @property
    def prefix(self) -> str:
        """What the tensors' last names begin with."""
        return PREFIXES[self.peft_type]

    @property
    def experts(self) -> list[dict[str, Any]]:
        return self.raw["experts"]

    @property
    def names(self) -> list[str]:
        """The experts' names, in the order of the stack."""
        return [expert["name"] for expert in self.experts]

    @property
    def partition(self) -> int:
        """Ranks a router row of SMoRA."""
        return self.raw.get("rank_partition", 1)

    def ranks(self, module: str) -> list[int]:
        """[n]: each expert's rank in a module."""
        return list(self.raw.get("rank_pattern", {}).get(module) or [expert["r"] for expert in self.experts])

    def span(self, module: str, expert: int) -> tuple[int, int]:
        """[begin, end): an expert's rows of A, and columns of B."""
        ranks = self.ranks(module)
        begin = sum(ranks[:expert])
        return begin, begin + ranks[expert]

    def scales(self, module: str) -> list[float]:
        """[n]: each expert's scale in a module; 0 where it leaves the module alone."""
        given = self.raw.get("scale_pattern", {}).get(module)
        if given is not None:
            return [float(scale) for scale in given]
        return [_scale(expert, r) for expert, r in zip(self.experts, self.ranks(module), strict=True)]

    def key(self, module: str, part: str) -> str:
        """The name of a module's tensor in the file: part is A, B, gate or bias."""
        return f"{PREFIX}{module}.{self.prefix}{part}"

    def index(self, name: str) -> int:
        """An expert's place; CompositionError `assembly.no_expert` for an unknown name."""
        if name not in self.names:
            raise CompositionError(
                "assembly.no_expert",
                f"The assembly has no expert {shorten(name)}. It has: {', '.join(self.names)}.",
                expert=name,
                experts=self.names,
            )
        return self.names.index(name)


def read_assembly_config(folder: Path) -> AssemblyConfig:
    """The config in an assembly's folder; CompositionError `assembly.config` where it is not one."""
    path = folder / CONFIG_FILE
    return parse_assembly_config(path.read_bytes() if path.is_file() else None, folder.name)


def parse_assembly_config(data: bytes | None, name: str) -> AssemblyConfig:
    """The config from the file's bytes; `name` is what messages call the assembly."""
    raw = strict_loads(data, area="config", what=CONFIG_FILE) if data is not None else None
    if not isinstance(raw, dict) or raw.get("peft_type") not in PREFIXES:
        given = "is missing" if raw is None else f"holds {shorten(raw)}"
        raise CompositionError(
            "assembly.config",
            f"{name} is not an assembly: {CONFIG_FILE} {given}; expected peft_type METEORA or SMORA. "
            "Give the folder that assembling wrote.",
        )
    return AssemblyConfig(raw)


def _scale(expert: Mapping[str, Any], rank: int) -> float:
    if rank == 0:
        return 0.0
    if expert.get("scale") is not None:
        return float(expert["scale"])
    return float(expert["lora_alpha"]) / (math.sqrt(rank) if expert.get("use_rslora") else rank)
