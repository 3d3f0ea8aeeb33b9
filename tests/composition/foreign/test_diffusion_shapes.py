"""Shapes of image models from their configs alone, as diffusers builds them.

`BUILT` was written down from the models themselves (diffusers 0.42.1, meta device): the number of weights of two or
more dimensions, and the first 16 digits of `shape_fingerprint` over {name without .weight: shape}.
"""

import subprocess
import sys

import pytest

from composition.base_models import module_shapes, parameter_count, shape_fingerprint
from composition.errors import CompositionError
from tests.composition.foreign.bases import CLIP, CONFIGS, PIPELINE, SMALL_XL, UNET, XL

BUILT = {
    "sd15": (282, "976bb4fecc5fd9b7"),
    "sd21": (282, "cecca0769b7c7c4c"),
    "sdxl": (794, "2f71943890b0c357"),
    "refiner": (554, "3a53f95ab13f5369"),
    "kolors": (795, "b4649beb5d423481"),
    "unclip": (284, "c786a7f1da1e5ea0"),
    "flux-dev": (504, "856ddab98d48679a"),
    "sd3": (341, "85548a94807d437a"),
    "sd3.5-medium": (393, "37d866297d3fde15"),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_the_shapes_are_the_model_s(name):
    found = module_shapes(CONFIGS[name])
    assert (len(found), shape_fingerprint(found)[:16]) == BUILT[name]


def test_a_pipeline_has_its_parts_behind_their_names():
    found = module_shapes(PIPELINE)
    assert found["unet.conv_in"] == module_shapes(SMALL_XL)["conv_in"] == [16, 4, 3, 3]
    assert found["text_encoder.encoder.layers.1.self_attn.q_proj"] == [16, 16]
    assert found["text_encoder_2.text_model.encoder.layers.0.mlp.fc1"] == [32, 24]
    assert len(found) == sum(len(module_shapes(PIPELINE[part])) for part in ("unet", "text_encoder", "text_encoder_2"))
    assert parameter_count(PIPELINE) > parameter_count(SMALL_XL) > 0


@pytest.mark.parametrize(
    ("config", "code", "says"),
    [
        ({"_class_name": "AutoencoderKL"}, "base.unknown_architecture", "UNet2DConditionModel"),
        ({"_class_name": "StableDiffusionPipeline", "unet": ["diffusers", "UNet2DConditionModel"]},
         "base.unknown_architecture", "put the configs into one object"),
        ({**UNET, "down_block_types": ["AttnDownBlock2D"] * 4}, "base.config", "AttnDownBlock2D"),
        ({**UNET, "layers_per_block": 10**9}, "base.config", "layers_per_block"),
        ({**UNET, "block_out_channels": [320]}, "base.config", "differ in length"),
        ({**UNET, "block_out_channels": ["x"] * 4}, "base.config", "block_out_channels"),
        ({**XL, "transformer_layers_per_block": [[1], [2], [3]]}, "base.config", "transformer_layers_per_block"),
        ({"_class_name": "FluxTransformer2DModel", "num_layers": 10**6}, "base.config", "num_layers"),
        ({"_class_name": "FluxTransformer2DModel", "num_attention_heads": True}, "base.config", "num_attention_heads"),
        ({**UNET, "time_embedding_type": "fourier"}, "base.config", "time_embedding_type"),
        ({"_class_name": "P", "unet": UNET, "text_encoder": {**CLIP, "model_type": "nothing"}},
         "base.unknown_architecture", "nothing"),
    ],
)  # fmt: skip
def test_what_is_not_known_is_refused_by_name(config, code, says):
    with pytest.raises(CompositionError) as refusal:
        module_shapes(config)
    assert refusal.value.code == code
    assert says in refusal.value.message


def test_it_needs_no_torch():
    code = "import sys, composition.running.diffusion; assert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
