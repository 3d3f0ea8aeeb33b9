"""Folders with any names, shapes and configs end in a refusal or in an adapter, never in another error."""

import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save

from composition.errors import CompositionError
from composition.formats import FORMATS
from composition.formats.foreign import rows
from composition.formats.sources import MemoryFile
from composition.formats.validate import validate_adapter
from tests.composition.foreign.bases import SMALL_FLUX, SMALL_XL
from tests.composition.foreign.bases import shapes as image_shapes
from tests.field import pico_bases as field

MODULES = st.sampled_from(
    """
    model.layers.0.self_attn.q_proj model.layers.0.mlp.switch_mlp.up_proj layers.0.attention.wq layers.1.attn.k_proj
    lora_unet_conv_in lora_unet_double_blocks_0_img_attn_qkv lora_te1_x unet.conv_out transformer.proj_out
    decoder.layers.0.self_attention.linear_qkv.adapter model.layers.0.mlp.experts base_model.model.lm_head x
    model.embed_tokens
    """.split()
)
HALVES = st.sampled_from(
    """
    lora_a lora_b m lora_A.weight lora_B.weight lora_down.weight lora_up.weight alpha dora_scale lora_a.weight
    lora_b.weight magnitude linear_in.weight linear_out.weight lora_gate_and_up_A lora_gate_and_up_B hada_w1_a
    lora.down.weight lora.up.weight
    """.split()
)
SHAPES = st.lists(st.integers(0, 6) | st.sampled_from([16, 32]), max_size=4).map(tuple)
DTYPES = st.sampled_from(["float32", "float16", "int32", "float64"])
VALUES = st.none() | st.booleans() | st.integers(-3, 64) | st.floats(allow_nan=False, allow_infinity=False) | st.text()
CONFIGS = st.dictionaries(
    st.sampled_from(["lora_parameters", "fine_tune_type", "lora_alpha", "r", "lora", "model", "peft_type", "alpha"]),
    VALUES | st.dictionaries(st.sampled_from(["scale", "rank", "alpha", "scaling"]), VALUES),
)
FILES = st.sampled_from(
    ["adapters.safetensors", "adapter_model.safetensors", "lora.safetensors", "a.safetensors", "b.safetensors",
     "adapter_model-00001-of-00002.safetensors", "adapter_model-00002-of-00002.safetensors"]
)  # fmt: skip
BASES = st.sampled_from(["llama", "qwen3moe", "xl", "flux", None])


def base_shapes(base: str | None):
    if base in ("xl", "flux"):
        return image_shapes(SMALL_XL if base == "xl" else SMALL_FLUX)
    return base and field.kept_shapes(base)


@st.composite
def folders(draw) -> dict[str, MemoryFile]:
    files = {}
    for name in draw(st.lists(FILES, min_size=1, max_size=2, unique=True)):
        tensors = {}
        for module, half in draw(st.lists(st.tuples(MODULES, HALVES), max_size=4)):
            tensors[f"{module}.{half}"] = np.ones(draw(SHAPES), draw(DTYPES))
        files[name] = MemoryFile(save(tensors))
    for name in draw(st.lists(st.sampled_from(["adapter_config.json", "params.json"]), unique=True)):
        files[name] = MemoryFile(json.dumps(draw(CONFIGS)).encode())
    return files


@pytest.mark.parametrize("name", rows.MODULES)
def test_every_row_is_a_format(name):
    row = FORMATS[name]
    assert row.convert
    assert row.merges
    assert callable(row.converter())
    assert callable(row.reader())


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(folders(), BASES)
def test_any_folder_ends_in_a_refusal_or_in_an_adapter(files, base):
    try:
        assert validate_adapter(files, base_shapes=base_shapes(base)).modules is not None
    except CompositionError as refusal:
        assert refusal.message.count("(") == refusal.message.count(")")
