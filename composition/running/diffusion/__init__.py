"""Shapes of image models from their diffusers config.json alone: no diffusers, no torch, no weight.

    {"_class_name": "UNet2DConditionModel", …}                    module names as in that model
    {"_class_name": "…Pipeline", "unet": {…}, "text_encoder": {…}}  names behind `unet.`, `text_encoder.`, …

Written from the constructors of diffusers 0.42 (`UNet2DConditionModel`, `FluxTransformer2DModel`,
`SD3Transformer2DModel`) and held against them; defaults are theirs. Vectors (norms, biases) are left out.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from composition.errors import CompositionError
from composition.formats.strict_json import shorten
from composition.running.diffusion.fields import Weight
from composition.running.diffusion.joint import flux, sd3
from composition.running.diffusion.unet import unet

Shapes = dict[str, list[int]]
COMPONENTS = ("unet", "transformer", "text_encoder", "text_encoder_2", "text_encoder_3")


def diffusion_shapes(config: Mapping[str, Any], text_shapes: Callable[[Mapping[str, Any]], Shapes]) -> Shapes:
    """Module → shape of the image model (or pipeline of configs) that `config` describes; see `module_shapes`.

    `text_shapes` reads the config of a text encoder. Errors: `base.unknown_architecture`, `base.config`.
    """
    name = config.get("_class_name")
    if name in READERS:
        return _read(config)
    parts = {part: config[part] for part in COMPONENTS if isinstance(config.get(part), Mapping)}
    if not parts:
        raise CompositionError(
            "base.unknown_architecture",
            f"config.json has the class {shorten(name)}. Of diffusers' models these are known: "
            f"{', '.join(READERS)}. Give the config.json of the pipeline's unet or transformer folder; to take text "
            'encoders along, put the configs into one object: {"_class_name": "…Pipeline", "unet": {…}, '
            '"text_encoder": {…}}.',
            model_type=name if isinstance(name, str) else None,
        )
    shapes: Shapes = {}
    for part, inner in parts.items():
        found = diffusion_shapes(inner, text_shapes) if "_class_name" in inner else text_shapes(inner)
        shapes |= {f"{part}.{module}": shape for module, shape in found.items()}
    return dict(sorted(shapes.items()))


def _read(config: Mapping[str, Any]) -> Shapes:
    try:
        return dict(sorted(READERS[config["_class_name"]](config)))
    except (TypeError, ValueError, KeyError, IndexError, ZeroDivisionError) as error:
        raise CompositionError(
            "base.config",
            f"No {config['_class_name']} can be built from this config.json: {type(error).__name__}: {error}. Give the "
            "unchanged config.json of the model.",
        ) from None


READERS: dict[str, Callable[[Mapping[str, Any]], Iterator[Weight]]] = {
    "UNet2DConditionModel": unet,
    "FluxTransformer2DModel": flux,
    "SD3Transformer2DModel": sd3,
}
