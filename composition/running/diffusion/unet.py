"""diffusers' UNet2DConditionModel (Stable Diffusion 1 and 2, SDXL, Kolors) by its config: its weights and their shapes.

Written from the constructor of diffusers 0.42 and held against it; defaults are its own.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from composition.formats.strict_json import shorten
from composition.running.diffusion.fields import Fields, Weight, whole_number

MOST = 64
"""Blocks, layers a block, transformer layers an attention: more is no model."""

UNET = {
    "in_channels": 4,
    "out_channels": 4,
    "block_out_channels": [320, 640, 1280, 1280],
    "down_block_types": [*["CrossAttnDownBlock2D"] * 3, "DownBlock2D"],
    "up_block_types": ["UpBlock2D", *["CrossAttnUpBlock2D"] * 3],
    "mid_block_type": "UNetMidBlock2DCrossAttn",
    "layers_per_block": 2,
    "cross_attention_dim": 1280,
    "transformer_layers_per_block": 1,
    "attention_head_dim": 8,
    "num_attention_heads": None,
    "use_linear_projection": False,
    "only_cross_attention": False,
    "conv_in_kernel": 3,
    "conv_out_kernel": 3,
    "time_embedding_dim": None,
    "time_cond_proj_dim": None,
    "addition_embed_type": None,
    "class_embed_type": None,
    "num_class_embeds": None,
    "projection_class_embeddings_input_dim": None,
    "encoder_hid_dim": None,
    "encoder_hid_dim_type": None,
}
PLAIN = {
    "time_embedding_type": ("positional", None),
    "resnet_time_scale_shift": ("default", None),
    "dual_cross_attention": (False, None),
    "class_embeddings_concat": (False, None),
    "reverse_transformer_layers_per_block": (None,),
    "attention_type": ("default", None),
    "resnet_skip_time_act": (False, None),
}
"""Fields that change the U-Net's structure, and the values that this reader knows."""


def unet(config: Mapping[str, Any]) -> Iterator[Weight]:
    fields = Fields(config, UNET)
    for key, known in PLAIN.items():
        if key in config and config[key] not in known:
            raise ValueError(f"{key} is {shorten(config[key])}, which is not known here; expected {known[0]!r}")
    widths = [whole_number(width, "block_out_channels", 1 << 16) for width in fields["block_out_channels"]]
    count = len(widths)
    layers = fields.wholes("layers_per_block", count, MOST)
    if not 0 < count <= MOST or len(fields["down_block_types"]) != count or len(fields["up_block_types"]) != count:
        raise ValueError("block_out_channels, down_block_types and up_block_types differ in length")
    heads = "attention_head_dim" if fields["num_attention_heads"] is None else "num_attention_heads"
    blocks = _Blocks(
        time=4 * widths[0] if fields["time_embedding_dim"] is None else fields.whole("time_embedding_dim"),
        linear=bool(fields["use_linear_projection"]),
        cross=fields.wholes("cross_attention_dim", count),
        heads=fields.wholes(heads, count),
        depth=[_depths(value, "transformer_layers_per_block") for value in _each(fields, count)],
        only_cross=_flags(fields["only_cross_attention"], count),
    )
    into, out = fields.whole("conv_in_kernel", 99), fields.whole("conv_out_kernel", 99)
    yield "conv_in", [widths[0], fields.whole("in_channels"), into, into]
    yield "conv_out", [fields.whole("out_channels"), widths[0], out, out]
    yield from _embeddings(fields, widths[0], blocks.time, blocks.cross[0])
    previous = widths[0]
    for i, (kind, width) in enumerate(zip(fields["down_block_types"], widths, strict=True)):
        attends = _attends(kind, ("CrossAttnDownBlock2D", "DownBlock2D"))
        for layer in range(layers[i]):
            yield from blocks.resnet(f"down_blocks.{i}.resnets.{layer}", previous if not layer else width, width)
            if attends:
                yield from blocks.attention(f"down_blocks.{i}.attentions.{layer}", width, i, layer)
        if i < count - 1:
            yield f"down_blocks.{i}.downsamplers.0.conv", [width, width, 3, 3]
        previous = width
    if fields["mid_block_type"] is not None:
        _attends(fields["mid_block_type"], ("UNetMidBlock2DCrossAttn",))
        yield from blocks.attention("mid_block.attentions.0", previous, count - 1, 0)
        for layer in range(2):
            yield from blocks.resnet(f"mid_block.resnets.{layer}", previous, previous)
    for i, kind in enumerate(fields["up_block_types"]):
        mirror = count - 1 - i
        width, below = widths[mirror], widths[max(mirror - 1, 0)]
        attends = _attends(kind, ("CrossAttnUpBlock2D", "UpBlock2D"))
        for layer in range(layers[mirror] + 1):
            skip = below if layer == layers[mirror] else width
            yield from blocks.resnet(f"up_blocks.{i}.resnets.{layer}", (previous if not layer else width) + skip, width)
            if attends:
                yield from blocks.attention(f"up_blocks.{i}.attentions.{layer}", width, mirror, layer)
        if i < count - 1:
            yield f"up_blocks.{i}.upsamplers.0.conv", [width, width, 3, 3]
        previous = width


def _each(fields: Fields, count: int) -> list[Any]:
    value = fields["transformer_layers_per_block"]
    values = list(value) if isinstance(value, Sequence) else [value] * count
    if len(values) != count:
        raise ValueError(f"transformer_layers_per_block has {len(values)} entries, expected {count}")
    return values


def _depths(value: Any, key: str) -> list[int]:
    if isinstance(value, Sequence) and not isinstance(value, str):
        raise ValueError(f"{key} gives a list a block, which is not known here")
    return [whole_number(value, key, MOST)]


def _flags(value: Any, count: int) -> list[bool]:
    return [bool(one) for one in value] if isinstance(value, Sequence) else [bool(value)] * count


def _attends(kind: Any, known: tuple[str, ...]) -> bool:
    """Whether a block has attentions: the first of the known kinds has."""
    if kind not in known:
        raise ValueError(f"the block {shorten(kind)} is not known here; expected {' or '.join(known)}")
    return kind == known[0]


def _embeddings(fields: Fields, width: int, time: int, cross: int) -> Iterator[Weight]:
    yield "time_embedding.linear_1", [time, width]
    yield "time_embedding.linear_2", [time, time]
    if fields["time_cond_proj_dim"] is not None:
        yield "time_embedding.cond_proj", [width, fields.whole("time_cond_proj_dim")]
    if fields["encoder_hid_dim_type"] == "text_proj" or (
        fields["encoder_hid_dim_type"] is None and fields["encoder_hid_dim"] is not None
    ):
        yield "encoder_hid_proj", [cross, fields.whole("encoder_hid_dim")]
    elif fields["encoder_hid_dim_type"] is not None:
        raise ValueError(f"encoder_hid_dim_type is {shorten(fields['encoder_hid_dim_type'])}, which is not known here")
    added = {"text_time": "add_embedding", "projection": "class_embedding"}
    for key in ("addition_embed_type", "class_embed_type"):
        if fields[key] is None:
            continue
        if added.get(fields[key]) != {"addition_embed_type": "add_embedding"}.get(key, "class_embedding"):
            raise ValueError(f"{key} is {shorten(fields[key])}, which is not known here")
        yield f"{added[fields[key]]}.linear_1", [time, fields.whole("projection_class_embeddings_input_dim")]
        yield f"{added[fields[key]]}.linear_2", [time, time]
    if fields["class_embed_type"] is None and fields["num_class_embeds"] is not None:
        yield "class_embedding", [fields.whole("num_class_embeds"), time]


class _Blocks:
    """What the blocks of one U-Net have in common; widths and heads a level."""

    def __init__(self, *, time: int, linear: bool, cross: list, heads: list, depth: list, only_cross: list) -> None:
        self.time, self.linear = time, linear
        self.cross, self.heads, self.depth, self.only_cross = cross, heads, depth, only_cross

    def resnet(self, name: str, into: int, width: int) -> Iterator[Weight]:
        """Two convolutions, the step's projection, and a shortcut where the width changes."""
        yield f"{name}.conv1", [width, into, 3, 3]
        yield f"{name}.time_emb_proj", [width, self.time]
        yield f"{name}.conv2", [width, width, 3, 3]
        if into != width:
            yield f"{name}.conv_shortcut", [width, into, 1, 1]

    def attention(self, name: str, width: int, level: int, layer: int) -> Iterator[Weight]:
        """Projections in and out around transformer blocks; GEGLU doubles the feed-forward's first layer."""
        inner = width // self.heads[level] * self.heads[level]
        ends = [] if self.linear else [1, 1]
        yield f"{name}.proj_in", [inner, width, *ends]
        yield f"{name}.proj_out", [width, inner, *ends]
        cross = self.cross[level]
        first = cross if self.only_cross[level] else inner
        for block in range(self.depth[level][0]):
            stem = f"{name}.transformer_blocks.{block}"
            for attn, source in (("attn1", first), ("attn2", cross)):
                yield f"{stem}.{attn}.to_q", [inner, inner]
                yield f"{stem}.{attn}.to_k", [inner, source]
                yield f"{stem}.{attn}.to_v", [inner, source]
                yield f"{stem}.{attn}.to_out.0", [inner, inner]
            yield f"{stem}.ff.net.0.proj", [8 * inner, inner]
            yield f"{stem}.ff.net.2", [inner, 4 * inner]
