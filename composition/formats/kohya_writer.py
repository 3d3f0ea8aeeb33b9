"""A plain LoRA of an image model under the names of sd-scripts (kohya): a renaming, made as it is read. Torch-free.

    lora_unet_{module with _ for .}.lora_down.weight   A [r, in(, k, k)]
                                   .lora_up.weight     B [out, r(, 1, 1)]
                                   .alpha              s · r, so that alpha / r · up @ down is ΔW

U-Nets are `lora_unet_` with the names of diffusers, which Stable Diffusion 1 and 2 have in sd-scripts as well, and
which readers of the format take for XL. Text encoders are `lora_te_`, or `lora_te1_`, `lora_te2_` where there are
several. Of the transformers of Flux and SD3 sd-scripts fuses q, k and v, whose three factors A are not one, and
diffusers 0.42 reads other spellings of their feed-forward wrongly; they are refused.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

from composition.errors import CompositionError
from composition.formats.made_files import Block, MadeFile, tensor_rows
from composition.formats.peft.layouts.stored import open_plain
from composition.formats.safetensors_header import write_header
from composition.formats.sources import Files, FileSource

KOHYA_FILE = "lora.safetensors"
UNET = "unet"
ENCODERS = ("text_encoder", "text_encoder_2", "text_encoder_3")
CLASS = "_class_name"


@dataclass(frozen=True, slots=True)
class Constant:
    """Bytes of a made file that are known beforehand."""

    data: bytes

    @property
    def size(self) -> int:
        """How many."""
        return len(self.data)

    def read(self, stream: BinaryIO, begin: int, end: int) -> bytes:
        """The bytes [begin, end)."""
        return self.data[begin:end]


class KohyaNames:
    """sd-scripts' name of each module of a base. Raises CompositionError `form.kohya_base` for no image model."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        if not isinstance(config.get(CLASS), str):
            raise CompositionError(
                "form.kohya_base",
                f"as=kohya is for adapters of image models, and this base is a {config.get('model_type')} model. "
                "Take its files as they are, or as=gguf.",
            )
        self._encoders = [part for part in ENCODERS if isinstance(config.get(part), Mapping)]
        self._parts = self._encoders + [UNET] * isinstance(config.get(UNET), Mapping)
        if UNET not in self._parts and "UNet" not in config[CLASS]:
            raise CompositionError(
                "form.kohya_base",
                f"as=kohya is written for U-Nets, and this base is a {config[CLASS]}. sd-scripts fuses the q, k and v "
                "of transformers, which three LoRAs are not. Take its files as they are.",
            )

    def name(self, module: str) -> str:
        """`lora_unet_down_blocks_0_…` of `unet.down_blocks.0.…` (of a lone U-Net: `down_blocks.0.…`)."""
        part, _, rest = module.partition(".")
        if not self._parts:
            part, rest = UNET, module
        if part == UNET:
            return f"lora_unet_{rest.replace('.', '_')}"
        if part not in self._encoders:
            raise CompositionError(
                "form.kohya_base", f"{module} is in no part of this base that sd-scripts has a name for.", module=module
            )
        number = ENCODERS.index(part) + 1 if len(self._encoders) > 1 else ""
        clip = "encoder.layers." in rest and not rest.startswith("text_model.")
        return f"lora_te{number}_{'text_model_' if clip else ''}{rest.replace('.', '_')}"


def kohya_files(files: Files, config: Mapping[str, Any]) -> dict[str, FileSource]:
    """{"lora.safetensors": file} of the plain LoRA in `files`, for the image model of this diffusers `config.json`.

    Raises CompositionError `config.*`, `safetensors.*`, `form.kohya_base` where the base is no image model, and
    `form.not_plain` where the adapter is more than A, B and a scale.
    """
    names = KohyaNames(config)
    stored = open_plain(files)
    tensors: dict[str, tuple[str, tuple[int, ...]]] = {}
    blocks: list[Block] = []
    start = stored.header.data_start
    for module, (a, b) in stored.pairs.items():
        name = names.name(module)
        alpha = stored.scale(module) * a.shape[0]
        tensors |= {
            f"{name}.lora_down.weight": (a.dtype, a.shape),
            f"{name}.lora_up.weight": (b.dtype, b.shape),
            f"{name}.alpha": ("F32", ()),
        }
        blocks += [tensor_rows(start, a), tensor_rows(start, b), Constant(struct.pack("<f", alpha))]
    metadata = {"ss_network_module": "networks.lora"}
    return {KOHYA_FILE: MadeFile(write_header(tensors, metadata), blocks, stored.source)}
