"""Folders of other tools, made from known updates by each tool's own formula and names, written from its documentation.

A maker returns (files, deltas): what the tool would write, and the truth, ΔW [out, in] by the base's module.
"""

from tests.foreign.common import peft_deltas
from tests.foreign.image import diffusers, image_factors, kohya, kohya_fused, kohya_pipeline, stand_in
from tests.foreign.text import mlx_lm, native

__all__ = [
    "diffusers",
    "image_factors",
    "kohya",
    "kohya_fused",
    "kohya_pipeline",
    "mlx_lm",
    "native",
    "peft_deltas",
    "stand_in",
]
