"""LoRAs of sd-scripts and diffusers become PEFT's: every name finds its module, every update is the same.

The names in `NAMES` are those that diffusers' own converters give to sd-scripts' (diffusers 0.42.1,
`_maybe_map_sgm_blocks_to_diffusers`, `_convert_non_diffusers_lora_to_diffusers`), which were run once over all 794
modules of SDXL and all 282 of Stable Diffusion 1.5; those of Flux against `_convert_kohya_flux_lora_to_diffusers`.
"""

import json

import numpy as np
import pytest
from peft import PeftModel
from safetensors.numpy import load, save

from composition.errors import CompositionError
from composition.formats.foreign.image import diffusers, kohya
from composition.formats.foreign.image.names import ImageModules
from composition.formats.foreign.plan import Base, made_in_memory
from composition.formats.kohya_writer import kohya_files
from composition.formats.sources import MemoryFile
from composition.formats.validate import validate_adapter
from tests import foreign
from tests.composition.foreign.bases import CLIP, PIPELINE, SMALL_FLUX, SMALL_SD3, SMALL_XL, UNET, XL, shapes

NAMES = {
    "sdxl": {
        "input_blocks_0_0": "conv_in",
        "out_2": "conv_out",
        "time_embed_0": "time_embedding.linear_1",
        "label_emb_0_2": "add_embedding.linear_2",
        "input_blocks_1_0_in_layers_2": "down_blocks.0.resnets.0.conv1",
        "input_blocks_3_0_op": "down_blocks.0.downsamplers.0.conv",
        "input_blocks_4_0_skip_connection": "down_blocks.1.resnets.0.conv_shortcut",
        "input_blocks_4_1_transformer_blocks_0_attn1_to_q":
            "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q",
        "input_blocks_8_1_proj_in": "down_blocks.2.attentions.1.proj_in",
        "input_blocks_8_0_emb_layers_1": "down_blocks.2.resnets.1.time_emb_proj",
        "middle_block_0_out_layers_3": "mid_block.resnets.0.conv2",
        "middle_block_1_transformer_blocks_9_attn2_to_out_0":
            "mid_block.attentions.0.transformer_blocks.9.attn2.to_out.0",
        "middle_block_2_in_layers_2": "mid_block.resnets.1.conv1",
        "output_blocks_2_2_conv": "up_blocks.0.upsamplers.0.conv",
        "output_blocks_5_1_transformer_blocks_1_ff_net_0_proj":
            "up_blocks.1.attentions.2.transformer_blocks.1.ff.net.0.proj",
        "output_blocks_5_2_conv": "up_blocks.1.upsamplers.0.conv",
        "output_blocks_8_0_in_layers_2": "up_blocks.2.resnets.2.conv1",
    },
    "sd15": {
        "down_blocks_0_attentions_1_transformer_blocks_0_attn2_to_k":
            "down_blocks.0.attentions.1.transformer_blocks.0.attn2.to_k",
        "mid_block_attentions_0_proj_out": "mid_block.attentions.0.proj_out",
        "up_blocks_3_attentions_2_transformer_blocks_0_ff_net_2":
            "up_blocks.3.attentions.2.transformer_blocks.0.ff.net.2",
        "time_embedding_linear_2": "time_embedding.linear_2",
    },
}  # fmt: skip


@pytest.mark.parametrize(("base", "config"), [("sdxl", XL), ("sd15", UNET)])
def test_names_are_those_that_diffusers_gives(base, config):
    modules = ImageModules(Base(shapes=shapes(config)))
    found = {name: modules.find("unet", name) for name in NAMES[base]}
    assert found == {name: (module,) for name, module in NAMES[base].items()}


def planned(files: dict[str, bytes], config: dict, module=kohya):
    sources = {name: MemoryFile(data) for name, data in files.items()}
    base = Base(name="ada/image", shapes=shapes(config), config=config)
    return module.plan(sources, base), sources


def made_deltas(files: dict[str, bytes], config: dict, module=kohya) -> dict[str, np.ndarray]:
    """ΔW of what was made, by the factors and scales of the plan's own files as numpy reads them."""
    plan, sources = planned(files, config, module)
    return foreign.peft_deltas({name: file.data for name, file in made_in_memory(plan, sources).items()})


def assert_equal(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert found.keys() == expected.keys()
    for name, delta in expected.items():
        np.testing.assert_allclose(found[name], delta, rtol=1e-6, atol=1e-7, err_msg=name)


@pytest.mark.parametrize("style", ["diffusers", "stability"])
def test_every_module_of_a_u_net_is_found_and_keeps_its_update(style):
    files, deltas = foreign.kohya(shapes(SMALL_XL), style=style)
    assert_equal(made_deltas(files, SMALL_XL), deltas)


def test_an_alpha_of_zero_is_the_rank_as_in_sd_scripts():
    files, deltas = foreign.kohya({"conv_in": (16, 4, 3, 3)}, alpha=0.0)
    found = made_deltas(files, SMALL_XL)["conv_in"]
    tensors = load(files["style.safetensors"])
    down, up = (tensors[f"lora_unet_conv_in.lora_{half}.weight"].astype(np.float64) for half in ("down", "up"))
    np.testing.assert_allclose(found, np.tensordot(up[:, :, 0, 0], down, axes=(1, 0)), rtol=1e-6)
    assert not deltas["conv_in"].any()


@pytest.mark.parametrize("config", [SMALL_FLUX, SMALL_SD3], ids=["flux", "sd3"])
def test_fused_layers_are_taken_apart(config):
    files, deltas = foreign.kohya_fused(shapes(config), flux=config is SMALL_FLUX)
    assert_equal(made_deltas(files, config), deltas)


@pytest.mark.parametrize("style", ["peft", "old", "processor"])
def test_names_of_diffusers_old_and_new(style):
    files, deltas = foreign.diffusers(shapes(SMALL_XL), style=style)
    assert_equal(made_deltas(files, SMALL_XL, diffusers), deltas)


def test_the_lora_config_in_the_header_gives_the_scale():
    said = {
        "unet.r": 4,
        "unet.lora_alpha": 2,
        "unet.alpha_pattern": {"attn2.to_k": 12},
        "unet.target_modules": ["to_q"],
    }
    pick = {name: shape for name, shape in shapes(SMALL_XL).items() if name.endswith(("attn1.to_q", "attn2.to_k"))}
    files, deltas = foreign.diffusers(pick, metadata={"lora_adapter_metadata": json.dumps(said)})
    scaled = {name: delta * (3.0 if name.endswith("attn2.to_k") else 0.5) for name, delta in deltas.items()}
    assert_equal(made_deltas(files, SMALL_XL, diffusers), scaled)


def test_text_encoders_of_a_pipeline():
    files, deltas = foreign.kohya_pipeline(shapes(PIPELINE))
    found = made_deltas(files, PIPELINE)
    assert {name.partition(".")[0] for name in found} == {"unet", "text_encoder", "text_encoder_2"}
    assert_equal(found, deltas)


@pytest.mark.parametrize(("make", "config"), [(foreign.kohya, SMALL_XL), (foreign.kohya_pipeline, PIPELINE)])
def test_what_the_hub_writes_for_sd_scripts_it_reads_back_to_the_same_bytes(make, config):
    """`kohya_writer` of the made files, imported again; U-Net alone, and a pipeline with its text encoders."""
    plan, sources = planned(make(shapes(config))[0], config)
    made = made_in_memory(plan, sources)
    (written,) = kohya_files(made, config).values()
    with written.open() as stream:
        again, found = planned({"lora.safetensors": stream.read()}, config)
    assert {name: file.data for name, file in made_in_memory(again, found).items()} == {
        name: file.data for name, file in made.items()
    }


def test_a_text_encoder_alone_is_a_base_too():
    pick = {f"text_encoder.{name}": shape for name, shape in shapes(CLIP).items() if "self_attn" in name}
    files, deltas = foreign.kohya_pipeline(pick)
    assert_equal(made_deltas(files, CLIP), {name.partition(".")[2]: delta for name, delta in deltas.items()})


def test_peft_loads_what_is_made_and_adds_the_same(tmp_path):
    """Linear layers and convolutions of a stand-in with the U-Net's modules; PEFT's own delta weights."""
    files, deltas = foreign.kohya(shapes(SMALL_XL), style="stability")
    plan, sources = planned(files, SMALL_XL)
    for name, file in made_in_memory(plan, sources).items():
        (tmp_path / name).write_bytes(file.data)
    model = PeftModel.from_pretrained(foreign.stand_in(shapes(SMALL_XL)), tmp_path)
    for name, delta in deltas.items():
        layer = model.base_model.model.get_submodule(name)
        added = layer.get_delta_weight("default").detach().numpy()
        np.testing.assert_allclose(added.reshape(delta.shape), delta, rtol=1e-4, atol=1e-5, err_msg=name)


def test_dora_of_lycoris_is_peft_s():
    files, _ = foreign.kohya({"mid_block.attentions.0.proj_in": (32, 32)}, style="diffusers", dora=True)
    sources = {name: MemoryFile(data) for name, data in files.items()}
    facts = validate_adapter(sources, base_shapes=shapes(SMALL_XL))
    assert [entry["code"] for entry in facts.needs_base] == ["dora"]


OUT = {"lora_unet_conv_out.lora_down.weight": (4, 16, 3, 3), "lora_unet_conv_out.lora_up.weight": (4, 4, 1, 1)}
TEXT = "lora_te_text_model_encoder_layers_0_self_attn_q_proj"


@pytest.mark.parametrize(
    ("tensors", "code", "says"),
    [
        ({"lora_unet_conv_in.hada_w1_a": (4, 4)}, "import.kind", "LoHa"),
        ({"lora_unet_conv_in.lokr_w1": (4, 4)}, "import.kind", "LoKr"),
        ({**OUT, "lora_unet_conv_out.lora_mid.weight": (4, 4, 3, 3)}, "import.kind", "Tucker"),
        ({**OUT, "lora_unet_conv_in.diff": (16, 4, 3, 3)}, "import.kind", "whole layers"),
        (
            {"lora_unet_nowhere.lora_down.weight": (4, 8), "lora_unet_nowhere.lora_up.weight": (8, 4)},
            "import.module_unknown",
            "lora_unet_nowhere",
        ),
        (
            {f"{TEXT}.lora_down.weight": (4, 8), f"{TEXT}.lora_up.weight": (8, 4)},
            "import.module_unknown",
            "text encoder",
        ),
        ({"lora_unet_conv_out.lora_down.weight": (4, 16, 3, 3)}, "import.unpaired", "has A only"),
        ({**OUT, "lora_unet_conv_out.lora_up.weight": (4, 5, 1, 1)}, "import.shape", "conv_out"),
        ({**OUT, "lora_unet_conv_out.lora_down.weight": (4, 17, 3, 3)}, "adapter.shape", "conv_out"),
        ({**OUT, "lora_unet_conv_out.alpha": (2,)}, "import.config", "no single number"),
        ({**OUT, "lora_unet_conv_out.what": (2,)}, "import.tensor_unknown", "what"),
    ],
)
def test_what_is_no_lora_of_this_base_is_refused_and_named(tensors, code, says):
    data = save({name: np.ones(shape, np.float32) for name, shape in tensors.items()})
    with pytest.raises(CompositionError) as refusal:
        validate_adapter({"style.safetensors": MemoryFile(data)}, base_shapes=shapes(SMALL_XL))
    assert refusal.value.code == code
    assert says in refusal.value.message
    assert code.startswith("adapter") or "kohya" in refusal.value.message


def test_without_a_base_there_are_no_names():
    files, _ = foreign.kohya({"conv_in": (16, 4, 3, 3)})
    with pytest.raises(CompositionError) as refusal:
        validate_adapter({name: MemoryFile(data) for name, data in files.items()})
    assert refusal.value.code == "import.needs_base"


def test_two_files_are_two_adapters():
    files, _ = foreign.kohya({"conv_in": (16, 4, 3, 3)})
    data = next(iter(files.values()))
    with pytest.raises(CompositionError) as refusal:
        validate_adapter(
            {"a.safetensors": MemoryFile(data), "b.safetensors": MemoryFile(data)}, base_shapes=shapes(SMALL_XL)
        )
    assert (refusal.value.code, "push each by its path, such as a.safetensors" in refusal.value.message) == (
        "import.several",
        True,
    )


def test_a_text_adapter_s_layers_are_not_found_by_their_ends():
    """`transformer_blocks.0.self_attn.q_proj` is no module of a language model, though one there ends alike."""
    llama = {"model.layers.0.self_attn.q_proj": [8, 8]}
    data = save(
        {
            f"transformer.transformer_blocks.0.self_attn.q_proj.lora_{half}.weight": np.ones((8, 8), np.float32)
            for half in "AB"
        }
    )
    with pytest.raises(CompositionError) as refusal:
        validate_adapter({"pytorch_lora_weights.safetensors": MemoryFile(data)}, base_shapes=llama)
    assert refusal.value.code == "import.module_unknown"
