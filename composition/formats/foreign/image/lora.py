"""LoRAs of image models: one safetensors file of sd-scripts (kohya) or of diffusers, and the same of other tools.

    lora_unet_{module}.lora_down.weight [r, in(, k, k)]   .lora_up.weight [out, r(, 1, 1)]   .alpha   (.dora_scale)
    unet.{module}.lora_A.weight                           unet.{module}.lora_B.weight        (…alpha)

ΔW = alpha / r · up @ down, and alpha = r where none or 0 is given (sd-scripts `networks/lora.py`; diffusers
`get_peft_kwargs`); a file of diffusers may carry its LoraConfig in the header (`lora_adapter_metadata`). `names`
knows what the modules are called.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from composition.errors import CompositionError
from composition.formats.foreign.image.names import DOTTED, PREFIXES, ImageModules
from composition.formats.foreign.looks import header_of, is_peft, with_names
from composition.formats.foreign.parts import Originals, Part, Stored, stored_tensors
from composition.formats.foreign.plan import Base, Lora, Plan, check_lora, refuse
from composition.formats.peft.config import PeftConfig, parse_peft_config
from composition.formats.sources import Files

METADATA = "lora_adapter_metadata"
_HALVES = (
    (re.compile(r"(?P<module>.+)\.lora_down\.weight"), "A"),
    (re.compile(r"(?P<module>.+)\.lora_up\.weight"), "B"),
    (re.compile(r"(?P<module>.+)\.lora_A(?:\.default(?:_0)?)?\.weight"), "A"),
    (re.compile(r"(?P<module>.+)\.lora_B(?:\.default(?:_0)?)?\.weight"), "B"),
    (re.compile(r"(?P<module>.+?)(?:\.lora_linear_layer|\.lora|_lora)\.down\.weight"), "A"),
    (re.compile(r"(?P<module>.+?)(?:\.lora_linear_layer|\.lora|_lora)\.up\.weight"), "B"),
    (re.compile(r"(?P<module>.+?)(?:\.lora_linear_layer|\.lora|_lora)?\.alpha"), "alpha"),
    (re.compile(r"(?P<module>.+)\.(?:dora_scale|lora_magnitude_vector(?:\.weight)?)"), "magnitude"),
)
KINDS = {
    "lora_mid": "a LoCon with a Tucker core (lora_mid)",
    "hada_": "a LoHa (hada_w1_a …)",
    "lokr_": "a LoKr (lokr_w1 …)",
    "oft_": "an OFT",
    "glora": "a GLoRA",
    ".a1.weight": "a GLoRA",
    ".on_input": "an (IA)³",
    ".diff": "whole layers (diff)",
    ".w_norm": "whole norms (w_norm)",
    ".b_norm": "whole norms (b_norm)",
    ".scale_weight": "a scaled float8 file",
}
"""What a tensor's name holds → what other method it belongs to."""


def half_of(name: str) -> tuple[str, str] | None:
    """(module, "A", "B", "alpha" or "magnitude") of a tensor's name; None where it is none of these."""
    for pattern, half in _HALVES:
        if match := pattern.fullmatch(name):
            return match["module"], half
    return None


def part_of(module: str) -> tuple[str, str] | None:
    """(part of the pipeline, module in it) by what the name begins with."""
    for table in (PREFIXES, DOTTED):
        for prefix, part in table.items():
            if module.startswith(prefix):
                rest = module.removeprefix(prefix)
                return part, re.sub(r"\.processor\.to_(\w+)$", lambda m: f".to_{m[1]}", rest)
    return None


def looks(files: Files, prefixes: Sequence[str]) -> list[str]:
    """The weights at the top whose names begin so and go on as a LoRA's, or as one of its relatives'."""
    if is_peft(files):
        return []
    return with_names(files, lambda name: name.startswith(tuple(prefixes)) and (half_of(name) or kind_of(name)))


def kind_of(name: str) -> str | None:
    """The other method that a tensor belongs to."""
    return next((kind for fragment, kind in KINDS.items() if fragment in name), None)


@dataclass(slots=True)
class _Found:
    """One name's tensors."""

    halves: dict[str, Stored] = field(default_factory=dict)


def plan_of(files: Files, base: Base, found: list[str], label: str) -> Plan:
    """The plan of the one file among `found`. Raises `import.several`, `.kind`, `.needs_base`, `.module_unknown`, …"""
    if len(found) != 1:
        refuse(
            "several",
            label,
            f"there are weights in {', '.join(found[:3])}",
            f"A version has one of them: push each by its path, such as {found[0]}.",
            files=found,
        )
    file = found[0]
    if base.shapes is None:
        refuse("needs_base", label, "its modules are named without dots, as only the base tells", "Give the base.")
    header = header_of(files, file)
    sorted_out = _sort(stored_tensors(header, file), label, file)
    configs = _configs(header.metadata.get(METADATA))
    modules, unknown, loras = ImageModules(base), [], []
    with Originals(files) as originals:
        for name, one in sorted_out.items():
            part, inside = part_of(name) or ("unet", name)
            places = modules.find(part, inside)
            if not places:
                unknown.append(name)
                continue
            scale = _scale(name, one.halves, originals, configs.get(part), inside, label)
            loras += _loras(name, one.halves, places, scale, base, label)
    if unknown:
        _refuse_unknown(unknown, base, label)
    return Plan(
        label=label,
        originals=(file,),
        loras=tuple(check_lora(lora, label) for lora in loras),
        base_name=base.name,
        task_type=None,
    )


def _sort(tensors: Mapping[str, Stored], label: str, file: str) -> dict[str, _Found]:
    found: dict[str, _Found] = {}
    for name, stored in tensors.items():
        if other := kind_of(name):
            refuse(
                "kind",
                label,
                f"{file} holds {name}, so it is {other}, which no A and B say exactly",
                "Train or export a plain LoRA (network_module networks.lora, or LyCORIS algo=lora).",
                tensors=[name],
            )
        half = half_of(name)
        if half is None:
            refuse(
                "tensor_unknown",
                label,
                f"{file} holds {name}, which is no factor of a LoRA",
                "Save the LoRA alone.",
                tensors=[name],
            )
        module, which = half
        halves = found.setdefault(module, _Found()).halves
        if which in halves:
            refuse("tensor_twice", label, f"{name} and {halves[which].name} are the same factor", "Save it again.")
        halves[which] = stored
    return found


def _configs(said: str | None) -> dict[str, PeftConfig]:
    """The LoraConfig of each part, from the header; {} where it holds none that can be read."""
    if not said:
        return {}
    try:
        flat = json.loads(said)
        parts: dict[str, dict[str, Any]] = {}
        for key, value in flat.items():
            part, _, name = key.partition(".")
            parts.setdefault(part, {})[name] = value
        return {
            part: parse_peft_config(json.dumps({**fields, "peft_type": "LORA"}).encode())
            for part, fields in parts.items()
        }
    except (ValueError, AttributeError, CompositionError):
        return {}


def _scale(
    name: str, halves: Mapping[str, Stored], originals: Originals, config: PeftConfig | None, inside: str, label: str
) -> float:
    if not {"A", "B"} <= set(halves):
        refuse("unpaired", label, f"{name} has {', '.join(sorted(halves))} only", "Save it again.", tensors=[name])
    rank = (halves["A"].shape or (0,))[0]
    if "alpha" in halves:
        alpha = halves["alpha"]
        if math.prod(alpha.shape) != 1 or alpha.dtype not in ("F64", "F32", "F16", "BF16"):
            refuse("config", label, f"{alpha.name} is no single number", "Save it again.", tensors=[alpha.name])
        return (alpha.scalar(originals.stream(alpha.file)) or rank) / max(rank, 1)
    return config.scale(inside, rank) if config else 1.0


def _loras(
    name: str, halves: Mapping[str, Stored], places: tuple[str, ...], scale: float, base: Base, label: str
) -> list[Lora]:
    a, b = Part.of(halves["A"]), Part.of(halves["B"])
    magnitude = _magnitude(Part.of(halves["magnitude"]), b, label) if "magnitude" in halves else None
    heights = [base.modules[module][0] for module in places]
    if len(places) > 1 and sum(heights) != b.shape[0]:
        refuse(
            "shape",
            label,
            f"{name} has {b.shape[0]} rows for {', '.join(places)}, which have {sum(heights)}",
            "Choose the base that it was trained on.",
            tensors=[halves["B"].name],
        )
    loras, begin = [], 0
    for module, height in zip(places, heights, strict=True):
        whole = len(places) == 1
        rows = b if whole else b.rows(begin, begin + height)
        sizes = magnitude if whole or magnitude is None else magnitude.rows(begin, begin + height)
        first, second = _as_base(a, rows, len(base.modules[module]))
        loras.append(Lora(module=module, A=first, B=second, scale=scale, magnitude=sizes))
        begin += height
    return loras


def _as_base(a: Part, b: Part, dimensions: int) -> tuple[Part, Part]:
    """A linear layer's factors where the base has a 1 × 1 convolution, and the other way round."""
    ends_a, ends_b = a.shape[2:], b.shape[2:]
    if dimensions == 2 and len(a.shape) > 2 and all(extent == 1 for extent in (*ends_a, *ends_b)):
        return a.shaped(a.shape[:2]), b.shaped(b.shape[:2])
    if dimensions > 2 and len(a.shape) == 2 and len(b.shape) == 2:
        ones = (1,) * (dimensions - 2)
        return a.shaped((*a.shape, *ones)), b.shaped((*b.shape, *ones))
    return a, b


def _magnitude(part: Part, b: Part, label: str) -> Part:
    """DoRA's magnitude, [out]; LyCORIS writes [out, 1], and [1, in] for a decomposition by inputs."""
    if math.prod(part.shape) != b.shape[0] or (part.shape and part.shape[0] != b.shape[0]):
        refuse(
            "kind",
            label,
            f"{part.stored.name} is {list(part.shape)}, a DoRA whose magnitudes belong to the inputs",
            "PEFT has none such; train it with wd_on_output=True.",
            tensors=[part.stored.name],
        )
    return part.shaped((b.shape[0],))


def _refuse_unknown(unknown: list[str], base: Base, label: str) -> None:
    text = [name for name in unknown if (part_of(name) or ("",))[0].startswith("text_encoder")]
    image = any("transformer_blocks" in name for name in base.modules)
    do = (
        'Its text encoder is not part of this base: register one whose config.json holds it too ({"unet": {…}, '
        '"text_encoder": {…}}), or push the image model\'s half alone.'
        if image and len(text) == len(unknown)
        else "Name the image model that it was trained on with --base; one is registered by the config.json of its "
        "unet or transformer folder: hubctl base add ORG/NAME --config config.json."
    )
    more = f" and {len(unknown) - 3} more" if len(unknown) > 3 else ""
    refuse(
        "module_unknown",
        label,
        f"{base.name or 'the base'} has no module for {', '.join(unknown[:3])}{more}",
        do,
        tensors=unknown[:3],
        count=len(unknown),
    )
