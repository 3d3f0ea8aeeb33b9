"""The recipes of merges, a module a family; each family's rows stand beside its recipes."""

from composition.recipes.merge.frame import MergeRecipe, RankedRecipe
from composition.recipes.merge.lego import LegoRecipe
from composition.recipes.merge.plain import AverageRecipe, CatRecipe, SvdRecipe

__all__ = ["AverageRecipe", "CatRecipe", "LegoRecipe", "MergeRecipe", "RankedRecipe", "SvdRecipe"]
