"""diffusers' transformers over image and text together (Flux, Stable Diffusion 3) by their configs.

Written from the constructors of diffusers 0.42 and held against them; defaults are theirs.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from composition.running.diffusion.fields import Fields, Weight

MOST_LAYERS = 512


FLUX = {
    "patch_size": 1,
    "in_channels": 64,
    "out_channels": None,
    "num_layers": 19,
    "num_single_layers": 38,
    "attention_head_dim": 128,
    "num_attention_heads": 24,
    "joint_attention_dim": 4096,
    "pooled_projection_dim": 768,
    "guidance_embeds": False,
}
SD3 = {
    "patch_size": 2,
    "in_channels": 16,
    "out_channels": 16,
    "num_layers": 18,
    "attention_head_dim": 64,
    "num_attention_heads": 18,
    "joint_attention_dim": 4096,
    "caption_projection_dim": 1152,
    "pooled_projection_dim": 2048,
    "dual_attention_layers": [],
}


def flux(config: Mapping[str, Any]) -> Iterator[Weight]:
    fields = Fields(config, FLUX)
    width = fields.whole("num_attention_heads") * fields.whole("attention_head_dim")
    patch = fields.whole("patch_size", 99)
    channels = fields.whole("in_channels")
    made = channels if fields["out_channels"] is None else fields.whole("out_channels")
    yield "x_embedder", [width, channels]
    yield "context_embedder", [width, fields.whole("joint_attention_dim")]
    yield from _steps(fields, width, guidance=bool(fields["guidance_embeds"]))
    yield "norm_out.linear", [2 * width, width]
    yield "proj_out", [patch * patch * made, width]
    for i in range(fields.whole("num_layers", MOST_LAYERS)):
        yield from _joint(f"transformer_blocks.{i}", width)
    for i in range(fields.whole("num_single_layers", MOST_LAYERS)):
        stem = f"single_transformer_blocks.{i}"
        yield f"{stem}.norm.linear", [3 * width, width]
        yield f"{stem}.proj_mlp", [4 * width, width]
        yield f"{stem}.proj_out", [width, 5 * width]
        for half in ("to_q", "to_k", "to_v"):
            yield f"{stem}.attn.{half}", [width, width]


def sd3(config: Mapping[str, Any]) -> Iterator[Weight]:
    fields = Fields(config, SD3)
    width = fields.whole("num_attention_heads") * fields.whole("attention_head_dim")
    patch, count = fields.whole("patch_size", 99), fields.whole("num_layers", MOST_LAYERS)
    yield "pos_embed.proj", [width, fields.whole("in_channels"), patch, patch]
    yield "context_embedder", [fields.whole("caption_projection_dim"), fields.whole("joint_attention_dim")]
    yield from _steps(fields, width)
    yield "norm_out.linear", [2 * width, width]
    yield "proj_out", [patch * patch * fields.whole("out_channels"), width]
    for i in range(count):
        yield from _joint(
            f"transformer_blocks.{i}", width, last=i == count - 1, dual=i in fields["dual_attention_layers"]
        )


def _steps(fields: Fields, width: int, *, guidance: bool = False) -> Iterator[Weight]:
    """The embeddings of the step, of the pooled text and of the guidance."""
    sizes = {"timestep_embedder": 256, "text_embedder": fields.whole("pooled_projection_dim")}
    for name, size in (sizes | ({"guidance_embedder": 256} if guidance else {})).items():
        yield f"time_text_embed.{name}.linear_1", [width, size]
        yield f"time_text_embed.{name}.linear_2", [width, width]


def _joint(stem: str, width: int, *, last: bool = False, dual: bool = False) -> Iterator[Weight]:
    """A block of image and text together; the last of SD3 leaves the text as it is."""
    yield f"{stem}.norm1.linear", [(9 if dual else 6) * width, width]
    yield f"{stem}.norm1_context.linear", [(2 if last else 6) * width, width]
    halves = ["to_q", "to_k", "to_v", "to_out.0", "add_q_proj", "add_k_proj", "add_v_proj"]
    for half in halves + ([] if last else ["to_add_out"]):
        yield f"{stem}.attn.{half}", [width, width]
    for half in halves[:4] if dual else ():
        yield f"{stem}.attn2.{half}", [width, width]
    for part in ("ff",) if last else ("ff", "ff_context"):
        yield f"{stem}.{part}.net.0.proj", [4 * width, width]
        yield f"{stem}.{part}.net.2", [width, 4 * width]
