"""A LoRA of a U-Net under sd-scripts' names: the same bits and scale, and back by the importer.

`NAMES` were read by diffusers 0.42.1: its `_convert_non_diffusers_lora_to_diffusers` finds these modules for them.
"""

import json

import numpy as np
import pytest
from safetensors.numpy import load, save

from composition.errors import CompositionError
from composition.formats.kohya_writer import KohyaNames, kohya_files
from composition.formats.sources import MemoryFile

UNET = {"_class_name": "UNet2DConditionModel"}
PIPELINE = {"_class_name": "StableDiffusionPipeline", "unet": UNET, "text_encoder": {"model_type": "clip_text_model"}}
XL = {**PIPELINE, "text_encoder_2": {"model_type": "clip_text_model"}}
ATTENTION = "down_blocks.0.attentions.1.transformer_blocks.0.attn2.to_k"
CLIP = "encoder.layers.0.mlp.fc1"
NAMES = [
    (UNET, ATTENTION, "lora_unet_down_blocks_0_attentions_1_transformer_blocks_0_attn2_to_k"),
    (UNET, "down_blocks.1.resnets.0.time_emb_proj", "lora_unet_down_blocks_1_resnets_0_time_emb_proj"),
    (PIPELINE, f"unet.{ATTENTION}", "lora_unet_down_blocks_0_attentions_1_transformer_blocks_0_attn2_to_k"),
    (PIPELINE, f"text_encoder.text_model.{CLIP}", "lora_te_text_model_encoder_layers_0_mlp_fc1"),
    (PIPELINE, f"text_encoder.{CLIP}", "lora_te_text_model_encoder_layers_0_mlp_fc1"),
    (XL, f"text_encoder.text_model.{CLIP}", "lora_te1_text_model_encoder_layers_0_mlp_fc1"),
    (XL, f"text_encoder_2.text_model.{CLIP}", "lora_te2_text_model_encoder_layers_0_mlp_fc1"),
]


def adapter(modules: dict[str, tuple], **config) -> dict[str, MemoryFile]:
    """{module: (A, B)} as PEFT's two files."""
    tensors = {}
    for module, (a, b) in modules.items():
        tensors |= {f"base_model.model.{module}.lora_A.weight": a, f"base_model.model.{module}.lora_B.weight": b}
    fields = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": sorted(modules), **config}
    data = json.dumps(fields).encode(), save(tensors, metadata={"format": "pt"})
    return dict(zip(("adapter_config.json", "adapter_model.safetensors"), map(MemoryFile, data), strict=True))


def factors(*shapes: tuple[int, ...]) -> tuple:
    random = np.random.default_rng(sum(map(sum, shapes)))
    return tuple(random.standard_normal(shape).astype(np.float16) for shape in shapes)


def written(files: dict[str, MemoryFile], config: dict) -> dict[str, np.ndarray]:
    (file,) = kohya_files(files, config).values()
    with file.open() as stream:
        data = stream.read()
    assert len(data) == file.size
    return load(data)


@pytest.mark.parametrize(("config", "module", "name"), NAMES)
def test_names(config, module, name):
    assert KohyaNames(config).name(module) == name


@pytest.mark.parametrize("rslora", [False, True])
def test_bits_and_scale(rslora):
    """ΔW = alpha / r · up @ down, where r is the tensor's own."""
    modules = {
        ATTENTION: factors((4, 6), (5, 4)),
        "mid_block.attentions.0.proj_in": factors((2, 6), (6, 2)),
        "down_blocks.0.resnets.0.conv1": factors((4, 3, 3, 3), (5, 4, 1, 1)),
    }
    files = adapter(modules, use_rslora=rslora, rank_pattern={"proj_in": 2}, alpha_pattern={"conv1": 3})
    found = written(files, UNET)
    assert len(found) == 9
    for module, alpha in zip(modules, (8, 8, 3), strict=True):
        a, b = modules[module]
        name = "lora_unet_" + module.replace(".", "_")
        assert (found[f"{name}.lora_down.weight"] == a).all() and (found[f"{name}.lora_up.weight"] == b).all()
        scale = alpha / (len(a) ** 0.5 if rslora else len(a))
        assert found[f"{name}.alpha"].shape == () and found[f"{name}.alpha"] / len(a) == pytest.approx(scale)


def test_the_importer_reads_it_back_to_the_same_update():
    image = pytest.importorskip("composition.formats.foreign.kohya")
    plan = pytest.importorskip("composition.formats.foreign.plan")
    modules = {ATTENTION: factors((4, 6), (5, 4)), "conv_in": factors((4, 3, 3, 3), (5, 4, 1, 1))}
    (name, file), *rest = kohya_files(adapter(modules), UNET).items()
    assert not rest
    shapes = {ATTENTION: [5, 6], "conv_in": [5, 3, 3, 3]}
    made = plan.made_in_memory(image.plan({name: file}, plan.Base(shapes=shapes, config=UNET)), {name: file})
    config = json.loads(made["adapter_config.json"].data)
    tensors = load(made["adapter_model.safetensors"].data)
    assert config["lora_alpha"] / config["r"] == 2.0
    for module, (a, b) in modules.items():
        assert (tensors[f"base_model.model.{module}.lora_A.weight"] == a).all()
        assert (tensors[f"base_model.model.{module}.lora_B.weight"] == b).all()


@pytest.mark.parametrize(
    ("config", "module", "fields", "code"),
    [
        ({"model_type": "llama"}, ATTENTION, {}, "form.kohya_base"),
        ({"_class_name": "FluxTransformer2DModel"}, "transformer_blocks.0.attn.to_q", {}, "form.kohya_base"),
        (PIPELINE, f"text_encoder_2.{CLIP}", {}, "form.kohya_base"),
        (UNET, ATTENTION, {"use_dora": True}, "form.not_plain"),
    ],
)
def test_what_has_no_such_form_is_refused(config, module, fields, code):
    with pytest.raises(CompositionError) as refused:
        kohya_files(adapter({module: factors((4, 6), (5, 4))}, **fields), config)
    assert refused.value.code == code
