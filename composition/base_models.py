"""Shapes of base models under the name that others import: `from composition.base_models import module_shapes`."""

from composition.running.base_models import module_shapes, parameter_count, shape_fingerprint

__all__ = ["module_shapes", "parameter_count", "shape_fingerprint"]
