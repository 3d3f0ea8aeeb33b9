"""What a user asks for: one frozen dataclass a method, torch-free; forms, REST schema and CLI are drawn from it."""

from composition.recipes.base import Recipe, option, recipe_fields, recipe_from_dict
from composition.recipes.evaluate import EvaluateRecipe
from composition.recipes.merge import AverageRecipe, CatRecipe, LegoRecipe, MergeRecipe, SvdRecipe

__all__ = [
    "AverageRecipe",
    "CatRecipe",
    "EvaluateRecipe",
    "LegoRecipe",
    "MergeRecipe",
    "Recipe",
    "SvdRecipe",
    "option",
    "recipe_fields",
    "recipe_from_dict",
]
