"""ΔW computed by others: numpy from the files' bytes, and PEFT on a real model."""

import json
from pathlib import Path

import numpy as np
import torch
from peft import PeftModel
from safetensors.numpy import load_file
from transformers import LlamaConfig, LlamaForCausalLM

from hub.models import Version
from hub.services.content.manifest import content_of, manifest_of
from tests.hub import factories
from workers.worker import Worker

STEM = "base_model.model."


def folder_of(worker: Worker, version: Version) -> Path:
    """A folder with a version's weights and config."""
    return worker.cache.folder(content_of("adapter", manifest_of(version.revisions.get())))


def updates(folder: Path) -> dict[str, np.ndarray]:
    """module → alpha / r · B A in float64, by numpy, of an adapter without patterns."""
    config = json.loads((folder / "adapter_config.json").read_bytes())
    tensors = load_file(folder / "adapter_model.safetensors")
    scale = config["lora_alpha"] / config["r"]
    names = [name.removesuffix(".lora_A.weight") for name in tensors if name.endswith(".lora_A.weight")]
    halves = {name: [tensors[f"{name}.lora_{half}.weight"].astype(np.float64) for half in "BA"] for name in names}
    return {name.removeprefix(STEM): scale * (B @ A) for name, (B, A) in halves.items()}


def on_model(folders: dict[str, Path]) -> PeftModel:
    """The pico base under these adapters, loaded by PEFT."""
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(**factories.PICO_CONFIG)).eval()
    (first, path), *rest = folders.items()
    adapted = PeftModel.from_pretrained(model, str(path), adapter_name=first)
    for name, path in rest:
        adapted.load_adapter(str(path), adapter_name=name)
    return adapted


def peft_updates(adapted: PeftModel, name: str) -> dict[str, np.ndarray]:
    """module → ΔW of one adapter, as PEFT would merge it into the base."""
    layers = {path: layer for path, layer in adapted.named_modules() if name in getattr(layer, "lora_A", {})}
    found = {path.removeprefix(STEM): layer.get_delta_weight(name) for path, layer in layers.items()}
    return {module: update.detach().double().numpy() for module, update in found.items()}


def same(ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray]) -> bool:
    """Whether both change the same modules by the same, within 1e-5."""
    return ours.keys() == theirs.keys() and all(np.allclose(ours[name], theirs[name], atol=1e-5) for name in ours)
