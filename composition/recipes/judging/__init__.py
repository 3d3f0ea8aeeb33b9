"""The recipes of what is asked about merges: what one lost of its inputs, and which of many is the best."""

from composition.recipes.judging.measure import MeasureMergeRecipe
from composition.recipes.judging.search import FULL, FULL_DENSITIES, FULL_SCALES, LEAST_ROWS, MergeSearchRecipe

__all__ = ["FULL", "FULL_DENSITIES", "FULL_SCALES", "LEAST_ROWS", "MeasureMergeRecipe", "MergeSearchRecipe"]
