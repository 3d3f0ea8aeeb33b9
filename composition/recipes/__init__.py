"""What a user asks for: one frozen dataclass a method, torch-free; forms, REST schema and CLI are drawn from it."""

from composition.recipes.base import Recipe, option, recipe_fields, recipe_from_dict
from composition.recipes.evaluate import EvaluateRecipe
from composition.recipes.merge import AverageRecipe, CatRecipe, LegoRecipe, MergeRecipe, SvdRecipe
from composition.recipes.moe import AssembleRecipe, MeteoraRecipe, SmoraRecipe
from composition.recipes.try_out import TryRecipe

__all__ = [
    "AssembleRecipe",
    "AverageRecipe",
    "CatRecipe",
    "EvaluateRecipe",
    "LegoRecipe",
    "MergeRecipe",
    "MeteoraRecipe",
    "Recipe",
    "SmoraRecipe",
    "SvdRecipe",
    "TryRecipe",
    "option",
    "recipe_fields",
    "recipe_from_dict",
]
