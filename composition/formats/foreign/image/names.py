"""Modules of image models under the names that training tools give them.

    sd-scripts (kohya)   the module's name with _ for ., behind lora_unet_, lora_te1_ …; for SDXL, SD3 and Flux in the
                         names of their authors' code (input_blocks_4_1, joint_blocks_0, double_blocks_0 …)
    diffusers            unet.…, transformer.…, text_encoder.…; attention processors once had names of their own

Each base module is given all its names, so that a file's name is looked up and never rewritten. Where one name stands
for several modules (a fused q, k, v), their updates are the rows of its B in this order, and share its A.
"""

import re
from collections.abc import Iterable, Iterator

from composition.formats.foreign.plan import Base

PREFIXES = {
    "lora_unet_": "unet",
    "lora_transformer_": "transformer",
    "lora_te1_": "text_encoder",
    "lora_te2_": "text_encoder_2",
    "lora_te3_": "text_encoder_3",
    "lora_te_": "text_encoder",
    "lycoris_": "unet",
}
"""sd-scripts and LyCORIS: what a name begins with → the part of the pipeline."""
DOTTED = {
    "model.diffusion_model.": "unet",
    "diffusion_model.": "unet",
    "unet.": "unet",
    "transformer.": "transformer",
    "text_encoder.": "text_encoder",
    "text_encoder_2.": "text_encoder_2",
    "text_encoder_3.": "text_encoder_3",
}
"""diffusers and ComfyUI."""
INSTEAD = {
    "unet": ("unet", "transformer", ""),
    "transformer": ("transformer", "unet", ""),
    "text_encoder": ("text_encoder", ""),
    "text_encoder_2": ("text_encoder_2",),
    "text_encoder_3": ("text_encoder_3", "text_encoder_2"),
}
"""Where a part's modules are looked for: sd-scripts calls Flux's transformer a U-Net, and numbers T5 as the third."""

_RESNET = {
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_OUTSIDE = {
    "conv_in": "input_blocks.0.0",
    "conv_out": "out.2",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
}
_BLOCK = re.compile(
    r"(?P<side>down|up)_blocks\.(?P<block>\d+)\.(?P<kind>resnets|attentions|downsamplers|upsamplers)\.(?P<layer>\d+)\."
    r"(?P<rest>.+)"
)
_MIDDLE = re.compile(r"mid_block\.(?P<kind>resnets|attentions)\.(?P<layer>\d+)\.(?P<rest>.+)")


class ImageModules:
    """The base's modules by part of the pipeline and by every name that they have."""

    def __init__(self, base: Base) -> None:
        self._parts: dict[str, dict[str, tuple[str, ...]]] = {}
        inside: dict[str, list[str]] = {}
        for module in base.modules:
            part, dot, rest = module.partition(".")
            known = part in INSTEAD and dot
            inside.setdefault(part if known else "", []).append(rest if known else module)
        for part, names in inside.items():
            before = f"{part}." if part else ""
            self._parts[part] = {
                flat(alias): tuple(before + name for name in modules) for alias, modules in _aliases(names)
            }

    def find(self, part: str, name: str) -> tuple[str, ...]:
        """The modules that the name stands for; none where the base has no such module."""
        key = flat(name)
        for instead in INSTEAD[part]:
            if found := self._parts.get(instead, {}).get(key):
                return found
        return ()


def flat(name: str) -> str:
    """A module's name as sd-scripts writes it."""
    return name.replace(".", "_")


def _aliases(names: list[str]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """(name, modules) of everything; what diffusers calls a module comes last and so wins."""
    known = set(names)
    for name in names:
        if ".layers." in name and not name.startswith("text_model."):
            yield f"text_model.{name}", (name,)
        if name.endswith(".to_out.0"):
            yield name.removesuffix(".0"), (name,)
    yield from _stability(names)
    yield from _fused(names, known)
    for name in names:
        yield name, (name,)


def _stability(names: list[str]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """A U-Net's modules in the names of Stability's code, which numbers blocks through."""
    blocks = [(name, match) for name in names if (match := _BLOCK.fullmatch(name))]
    depth = 1 + max((int(m["layer"]) for _, m in blocks if (m["side"], m["kind"]) == ("down", "resnets")), default=0)
    attends = {m["block"] for _, m in blocks if (m["side"], m["kind"]) == ("up", "attentions")}
    for name, match in blocks:
        block, layer, kind, rest = int(match["block"]), int(match["layer"]), match["kind"], match["rest"]
        if match["side"] == "down":
            at = 1 + block * (depth + 1) + (depth if kind == "downsamplers" else layer)
            stem = f"input_blocks.{at}.{1 if kind == 'attentions' else 0}"
            rest = "op" if kind == "downsamplers" and rest == "conv" else rest
        else:
            at = block * (depth + 1) + (depth if kind == "upsamplers" else layer)
            place = {"resnets": 0, "attentions": 1, "upsamplers": 2 if match["block"] in attends else 1}[kind]
            stem = f"output_blocks.{at}.{place}"
        yield f"{stem}.{_RESNET.get(rest, rest) if kind == 'resnets' else rest}", (name,)
    for name in names:
        if match := _MIDDLE.fullmatch(name):
            resnet = match["kind"] == "resnets"
            at = 2 * int(match["layer"]) if resnet else 1
            yield f"middle_block.{at}.{_RESNET.get(match['rest'], match['rest']) if resnet else match['rest']}", (name,)
        elif name in _OUTSIDE:
            yield _OUTSIDE[name], (name,)


_STREAMS = (
    ("img", "x_block", ("to_q", "to_k", "to_v"), "to_out.0", "ff", "norm1"),
    ("txt", "context_block", ("add_q_proj", "add_k_proj", "add_v_proj"), "to_add_out", "ff_context", "norm1_context"),
)


def _fused(names: list[str], known: set[str]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The blocks of Flux and SD3 in the names of their authors' code."""
    blocks = sorted({name.split(".")[1] for name in names if name.startswith("transformer_blocks.")}, key=int)
    for i in blocks:
        stem = f"transformer_blocks.{i}"
        for flux, sd3, qkv, out, feed, norm in _STREAMS:
            pairs: Iterable[tuple[tuple[str, ...], tuple[str, str]]] = (
                (tuple(f"{stem}.attn.{one}" for one in qkv), ("attn.qkv", "attn.qkv")),
                ((f"{stem}.attn.{out}",), ("attn.proj", "attn.proj")),
                ((f"{stem}.{feed}.net.0.proj",), ("mlp.0", "mlp.fc1")),
                ((f"{stem}.{feed}.net.2",), ("mlp.2", "mlp.fc2")),
                ((f"{stem}.{norm}.linear",), ("mod.lin", "adaLN_modulation.1")),
            )
            for modules, (theirs, stability) in pairs:
                last_norm = i == blocks[-1] and stability.startswith("adaLN") and sd3 == "context_block"
                if set(modules) <= known:
                    yield f"double_blocks.{i}.{flux}_{theirs}", modules
                    if not last_norm:  # its halves stand in another order there
                        yield f"joint_blocks.{i}.{sd3}.{stability}", modules
        second = tuple(f"{stem}.attn2.{one}" for one in ("to_q", "to_k", "to_v"))
        if set(second) <= known:
            yield f"joint_blocks.{i}.x_block.attn2.qkv", second
            yield f"joint_blocks.{i}.x_block.attn2.proj", (f"{stem}.attn2.to_out.0",)
    for i in sorted({name.split(".")[1] for name in names if name.startswith("single_transformer_blocks.")}, key=int):
        stem = f"single_transformer_blocks.{i}"
        yield (
            f"single_blocks.{i}.linear1",
            tuple(f"{stem}.{one}" for one in ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp")),
        )
        yield f"single_blocks.{i}.linear2", (f"{stem}.proj_out",)
        yield f"single_blocks.{i}.modulation.lin", (f"{stem}.norm.linear",)
