"""One LoRA an expert, as transformers 4 names them, on architectures beside the field cases': the verdict is peft's."""

import json

import pytest
import torch
import transformers

from composition.base_models import module_shapes
from composition.base_shapes import BaseShapes
from composition.errors import CompositionError
from composition.formats.peft.names import PREFIX
from composition.formats.validate import local_files, validate_adapter
from tests.field.generated import write
from tests.field.pico_bases import live

pytestmark = pytest.mark.filterwarnings("ignore")

_WIDTHS = {"hidden_size": 32, "intermediate_size": 64, "moe_intermediate_size": 16, "num_hidden_layers": 2}
_REST = {"num_attention_heads": 4, "vocab_size": 128, "max_position_embeddings": 64, "num_experts_per_tok": 2}
_HEADS = {"num_key_value_heads": 2, "head_dim": 8}
_GROUPS = {"n_routed_experts": 4, "first_k_dense_replace": 1, "n_group": 1, "topk_group": 1, "n_shared_experts": 1}
_LATENT = {"q_lora_rank": 8, "kv_lora_rank": 8, "qk_rope_head_dim": 4, "qk_nope_head_dim": 4, "v_head_dim": 8}
BASES = {
    "qwen3_moe": ("Qwen3MoeForCausalLM", {"num_experts": 4, "mlp_only_layers": [0], **_HEADS}),
    "qwen2_moe": ("Qwen2MoeForCausalLM", {"num_experts": 4, "shared_expert_intermediate_size": 16, **_HEADS}),
    "olmoe": ("OlmoeForCausalLM", {"num_experts": 4, **_HEADS}),
    "deepseek_v3": ("DeepseekV3ForCausalLM", {**_GROUPS, **_LATENT}),
    "glm4_moe": ("Glm4MoeForCausalLM", {**_GROUPS, **_HEADS}),
    "mixtral": ("MixtralForCausalLM", {"num_local_experts": 4, **_HEADS}),
}
"""Model type → class and what its config says beside the widths."""


def tensors(model_type, shapes, router, dense):
    """Rank 2 on every expert, the router, and the dense layers of the experts' names."""
    leaves = ("w1", "w3", "w2") if model_type == "mixtral" else ("gate_proj", "up_proj", "down_proj")
    sizes = {}
    for name, shape in shapes.items():
        if not name.endswith(".experts.gate_up_proj"):
            continue
        experts, inner, width = shape[0], shape[1] // 2, shape[2]
        above = name.removesuffix(".experts.gate_up_proj")
        above = above.replace(".mlp", ".block_sparse_moe") if model_type == "mixtral" else above
        for expert in range(experts):
            for leaf in leaves:
                sizes[f"{above}.experts.{expert}.{leaf}"] = (width, inner) if leaf == leaves[2] else (inner, width)
        if router:
            sizes[f"{above}.gate"] = experts, width
    if dense:
        sizes |= {name: shapes[name] for name in shapes.layout.kinds if name.rpartition(".")[2] in leaves}
    found = {}
    for name, (rows, columns) in sizes.items():
        found[f"{PREFIX}{name}.lora_A.weight"] = torch.randn(2, columns)
        found[f"{PREFIX}{name}.lora_B.weight"] = torch.randn(rows, 2)
    return found, [*leaves, *(["gate"] if router else [])]


@pytest.mark.parametrize("dense", [False, True])
@pytest.mark.parametrize("router", [False, True])
@pytest.mark.parametrize("model_type", BASES)
def test_the_door_says_of_experts_what_peft_does(model_type, router, dense, tmp_path):
    name, more = BASES[model_type]
    config = {"model_type": model_type, "architectures": [name], **_WIDTHS, **_REST, **more}
    shapes = module_shapes(config)
    weights, targets = tensors(model_type, shapes, router, dense)
    fields = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "lora_dropout": 0.0, "target_modules": targets}
    folder = write(tmp_path / "adapter", fields, weights)
    given = {key: value for key, value in config.items() if key != "model_type"}
    base = getattr(transformers, name)(transformers.AutoConfig.for_model(model_type, **given))
    try:
        filled = not live(base, folder)[1]
    except ValueError:
        filled = False
    for known in (shapes, BaseShapes(json.loads(json.dumps(shapes)), config=config)):
        try:
            facts = validate_adapter(local_files(folder), base_shapes=known)
        except CompositionError as refusal:
            assert not filled, refusal.message
        else:
            assert filled
            assert [entry["code"] for entry in facts.needs_base] == ["target_parameters"]
