"""Files of tools for image models: sd-scripts (kohya) and diffusers, in the names that each has had."""

from collections.abc import Mapping, Sequence

import numpy as np
from safetensors.numpy import save

from tests.foreign.common import Deltas, Files, conv_product

Shapes = Mapping[str, Sequence[int]]


def image_factors(shapes: Shapes, r: int, seed: int = 0) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """{module: (down [r, in(, k, k)], up [out, r(, 1, 1)])} for linear layers and convolutions."""
    random = np.random.default_rng(seed)
    made = {}
    for name, (out, into, *kernel) in shapes.items():
        down = random.standard_normal((r, into, *kernel)).astype(np.float32)
        made[name] = (down, random.standard_normal((out, r, *[1] * len(kernel))).astype(np.float32))
    return made


def kohya(
    shapes: Shapes,
    *,
    style: str = "diffusers",
    r: int = 4,
    alpha: float = 2.0,
    dora: bool = False,
) -> tuple[Files, Deltas]:
    """sd-scripts: alpha / r · up @ down; alpha differs from module to module, and one has none (then it is r)."""
    tensors, deltas = {}, {}
    for count, (name, (down, up)) in enumerate(image_factors(shapes, r).items()):
        flat = "lora_unet_" + (stability_name(name, shapes) if style == "stability" else name).replace(".", "_")
        tensors |= {f"{flat}.lora_down.weight": down, f"{flat}.lora_up.weight": up}
        scale = 1.0
        if count != 1:
            tensors[f"{flat}.alpha"] = np.float32(alpha + count % 3)
            scale = (alpha + count % 3) / r
        if dora:
            tensors[f"{flat}.dora_scale"] = np.ones((len(up), 1), np.float32)
        deltas[name] = scale * conv_product(down.astype(np.float64), up.astype(np.float64))
    tensors = {name: np.asarray(value) for name, value in tensors.items()}
    return {"style.safetensors": save(tensors, {"ss_network_dim": str(r)})}, deltas


def stability_name(name: str, shapes: Mapping[str, object]) -> str:
    """A module of a two-level U-Net with two resnets a block, in the names of Stability's code: written out by hand."""
    outside = {
        "conv_in": "input_blocks.0.0",
        "conv_out": "out.2",
        "time_embedding.linear_1": "time_embed.0",
        "time_embedding.linear_2": "time_embed.2",
        "add_embedding.linear_1": "label_emb.0.0",
        "add_embedding.linear_2": "label_emb.0.2",
    }
    blocks = {
        "down_blocks.0.resnets.0": "input_blocks.1.0",
        "down_blocks.0.resnets.1": "input_blocks.2.0",
        "down_blocks.0.downsamplers.0": "input_blocks.3.0",
        "down_blocks.1.resnets.0": "input_blocks.4.0",
        "down_blocks.1.attentions.0": "input_blocks.4.1",
        "down_blocks.1.resnets.1": "input_blocks.5.0",
        "down_blocks.1.attentions.1": "input_blocks.5.1",
        "mid_block.resnets.0": "middle_block.0",
        "mid_block.attentions.0": "middle_block.1",
        "mid_block.resnets.1": "middle_block.2",
        "up_blocks.0.resnets.0": "output_blocks.0.0",
        "up_blocks.0.attentions.0": "output_blocks.0.1",
        "up_blocks.0.resnets.1": "output_blocks.1.0",
        "up_blocks.0.attentions.1": "output_blocks.1.1",
        "up_blocks.0.resnets.2": "output_blocks.2.0",
        "up_blocks.0.attentions.2": "output_blocks.2.1",
        "up_blocks.0.upsamplers.0": "output_blocks.2.2",
        "up_blocks.1.resnets.0": "output_blocks.3.0",
        "up_blocks.1.resnets.1": "output_blocks.4.0",
        "up_blocks.1.resnets.2": "output_blocks.5.0",
    }
    inside = {
        "conv1": "in_layers.2",
        "time_emb_proj": "emb_layers.1",
        "conv2": "out_layers.3",
        "conv_shortcut": "skip_connection",
    }
    if name in outside:
        return outside[name]
    block = next(block for block in blocks if name.startswith(f"{block}."))
    rest = name.removeprefix(f"{block}.")
    if "resnets" in block:
        rest = inside[rest]
    return f"{blocks[block]}.{'op' if 'downsamplers' in block else rest}"


def kohya_fused(shapes: Shapes, *, flux: bool, r: int = 4) -> tuple[Files, Deltas]:
    """sd-scripts' names of Flux and SD3, where q, k and v are one layer; in Flux's single blocks the MLP's too."""
    layers: dict[str, list[str]] = {}
    double, (img, txt) = (
        ("double_blocks", ("img_", "txt_")) if flux else ("joint_blocks", ("x_block_", "context_block_"))
    )
    words = ("mlp_0", "mlp_2", "mod_lin") if flux else ("mlp_fc1", "mlp_fc2", "adaLN_modulation_1")
    blocks = sorted({int(name.split(".")[1]) for name in shapes if name.startswith("transformer_blocks.")})
    for i in blocks:
        stem = f"transformer_blocks.{i}"
        for side, qkv, out, feed, norm in (
            (img, ["to_q", "to_k", "to_v"], "to_out.0", "ff", "norm1"),
            (txt, ["add_q_proj", "add_k_proj", "add_v_proj"], "to_add_out", "ff_context", "norm1_context"),
        ):
            layers[f"{double}_{i}_{side}attn_qkv"] = [f"{stem}.attn.{one}" for one in qkv]
            layers[f"{double}_{i}_{side}attn_proj"] = [f"{stem}.attn.{out}"]
            layers[f"{double}_{i}_{side}{words[0]}"] = [f"{stem}.{feed}.net.0.proj"]
            layers[f"{double}_{i}_{side}{words[1]}"] = [f"{stem}.{feed}.net.2"]
            if flux or (i != blocks[-1] or side == img):
                layers[f"{double}_{i}_{side}{words[2]}"] = [f"{stem}.{norm}.linear"]
        if f"{stem}.attn2.to_q" in shapes:
            layers[f"joint_blocks_{i}_x_block_attn2_qkv"] = [f"{stem}.attn2.{one}" for one in ("to_q", "to_k", "to_v")]
            layers[f"joint_blocks_{i}_x_block_attn2_proj"] = [f"{stem}.attn2.to_out.0"]
    for i in sorted({int(name.split(".")[1]) for name in shapes if name.startswith("single_transformer_blocks.")}):
        stem = f"single_transformer_blocks.{i}"
        layers[f"single_blocks_{i}_linear1"] = [
            f"{stem}.{one}" for one in ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp")
        ]
        layers[f"single_blocks_{i}_linear2"] = [f"{stem}.proj_out"]
        layers[f"single_blocks_{i}_modulation_lin"] = [f"{stem}.norm.linear"]
    layers = {name: modules for name, modules in layers.items() if all(module in shapes for module in modules)}
    whole = {
        name: (sum(shapes[module][0] for module in modules), shapes[modules[0]][1]) for name, modules in layers.items()
    }
    tensors, deltas = {}, {}
    for name, (down, up) in image_factors(whole, r).items():
        tensors |= {f"lora_unet_{name}.lora_down.weight": down, f"lora_unet_{name}.lora_up.weight": up}
        tensors[f"lora_unet_{name}.alpha"] = np.asarray(np.float32(1.0))
        full, begin = (up.astype(np.float64) @ down.astype(np.float64)) / r, 0
        for module in layers[name]:
            deltas[module] = full[begin : begin + shapes[module][0]]
            begin += shapes[module][0]
    return {"flux.safetensors": save(tensors)}, deltas


def diffusers(
    shapes: Shapes, *, style: str = "peft", r: int = 4, metadata: dict[str, str] | None = None
) -> tuple[Files, Deltas]:
    """diffusers: `lora_A`, `lora_B`; before PEFT `lora.down`; at first inside attention processors, attention only."""
    if style == "processor":
        shapes = {name: shape for name, shape in shapes.items() if ".attn" in name and ".to_" in name}
    tensors, deltas = {}, {}
    for name, (down, up) in image_factors(shapes, r).items():
        halves = ("lora_A", "lora_B") if style == "peft" else ("lora.down", "lora.up")
        stem = f"unet.{name}."
        if style == "processor":
            owner, _, last = name.partition(".to_")
            stem = f"unet.{owner}.processor.to_{last.removesuffix('.0')}_"
        tensors |= {f"{stem}{halves[0]}.weight": down, f"{stem}{halves[1]}.weight": up}
        deltas[name] = conv_product(down.astype(np.float64), up.astype(np.float64))
    return {"pytorch_lora_weights.safetensors": save(tensors, metadata)}, deltas


def kohya_pipeline(shapes: Shapes, *, r: int = 4) -> tuple[Files, Deltas]:
    """sd-scripts over a pipeline: the U-Net and its text encoders, which it numbers from 1 and calls text_model."""
    prefix = {"unet": "lora_unet_", "text_encoder": "lora_te1_", "text_encoder_2": "lora_te2_"}
    shapes = {name: shape for name, shape in shapes.items() if "attn" in name}
    tensors, deltas = {}, {}
    for name, (down, up) in image_factors(shapes, r).items():
        part, _, rest = name.partition(".")
        if part != "unet":
            rest = f"text_model.{rest.removeprefix('text_model.')}"
        flat = prefix[part] + rest.replace(".", "_")
        tensors |= {f"{flat}.lora_down.weight": down, f"{flat}.lora_up.weight": up}
        tensors[f"{flat}.alpha"] = np.asarray(np.float32(1.0))
        deltas[name] = conv_product(down.astype(np.float64), up.astype(np.float64)) / r
    return {"xl.safetensors": save(tensors)}, deltas


def stand_in(shapes: Shapes):
    """A torch module that has layers of these names and shapes, and does nothing."""
    import torch

    root = torch.nn.Module()
    for name, (out, into, *kernel) in shapes.items():
        at = root
        *owners, last = name.split(".")
        for owner in owners:
            if owner not in dict(at.named_children()):
                at.add_module(owner, torch.nn.Module())
            at = at.get_submodule(owner)
        layer = (
            torch.nn.Conv2d(into, out, tuple(kernel), bias=False) if kernel else torch.nn.Linear(into, out, bias=False)
        )
        at.add_module(last, layer)
    return root
