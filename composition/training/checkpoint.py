"""A training that survives a kill: parameters, AdamW's moments and what was noted so far, in one safetensors file.

The file is written beside and renamed, so there is always a whole one; its digest of recipe, data and stack says
whether it belongs to this run. No pickle.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from composition.formats.safetensors_writer import replace_file, safetensors_header, tensor_bytes

STATE_FILE = "state.safetensors"


@dataclass(slots=True)
class Notes:
    """What a run knows beside its tensors; plain JSON."""

    step: int = 0
    curve: list[dict[str, float]] = field(default_factory=list)
    before: dict[str, Any] = field(default_factory=dict)


def write_state(
    folder: Path,
    digest: str,
    notes: Notes,
    parameters: Mapping[str, Tensor],
    buffers: Mapping[str, Tensor],
    optimizer: torch.optim.Optimizer,
) -> None:
    """Keep the run as it stands after `notes.step` steps."""
    tensors: dict[str, Tensor] = {f"buffer {name}": tensor for name, tensor in buffers.items()}
    for name, parameter in parameters.items():
        tensors[f"parameter {name}"] = parameter.detach()
        for moment in ("exp_avg", "exp_avg_sq"):
            tensors[f"{moment} {name}"] = optimizer.state[parameter][moment]
    known = {"digest": digest, "step": notes.step, "curve": notes.curve, "before": notes.before}
    folder.mkdir(parents=True, exist_ok=True)
    shapes = {name: (tensor.dtype, tuple(tensor.shape)) for name, tensor in tensors.items()}
    header = safetensors_header(shapes, {"state": json.dumps(known, sort_keys=True)})
    body = (tensor_bytes(tensor, tensor.dtype, name) for name, tensor in tensors.items())
    replace_file(folder / STATE_FILE, (chunk for chunks in ([header], body) for chunk in chunks))


def read_state(
    folder: Path,
    digest: str,
    parameters: Mapping[str, Tensor],
    buffers: Mapping[str, Tensor],
    optimizer: torch.optim.Optimizer,
) -> Notes | None:
    """Take up the run kept in the folder: sets tensors and optimizer in place. None where there is none of this run."""
    path = folder / STATE_FILE
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as source:
            known = json.loads(source.metadata()["state"])
            if known["digest"] != digest:
                return None
            kept = {name: source.get_tensor(name) for name in source.keys()}  # noqa: SIM118 - no mapping
        step = torch.tensor(float(known["step"]))
        moments = {name: {m: kept[f"{m} {name}"] for m in ("exp_avg", "exp_avg_sq")} for name in parameters}
        places = {f"parameter {name}": p for name, p in parameters.items()}
        places |= {f"buffer {name}": b for name, b in buffers.items()}
        values = {name: kept[name].reshape(place.shape) for name, place in places.items()}
    except (SafetensorError, OSError, KeyError, ValueError, TypeError, RuntimeError):
        return None
    with torch.no_grad():
        for name, place in places.items():
            place.copy_(values[name])
    for name, parameter in parameters.items():
        own = {moment: value.to(parameter.device) for moment, value in moments[name].items()}
        optimizer.state[parameter] = {"step": step.clone(), **own}
    return Notes(known["step"], known["curve"], known["before"])
