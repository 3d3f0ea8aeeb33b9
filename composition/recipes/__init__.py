"""What a user asks for: one frozen dataclass per method, torch-free; forms, REST schema and CLI are built from it."""

from composition.recipes.assemble import AssembleRecipe
from composition.recipes.base import Recipe, option, recipe_fields
from composition.recipes.discriminator import DiscriminatorRecipe
from composition.recipes.evaluate import EvaluateRecipe
from composition.recipes.fingerprint import FingerprintRecipe
from composition.recipes.generate import GenerateRecipe
from composition.recipes.judging import MeasureMergeRecipe, MergeSearchRecipe
from composition.recipes.memory import check_memory, memory_estimate
from composition.recipes.merge import AverageRecipe, CatRecipe, LegoRecipe, MergeRecipe, SvdRecipe
from composition.recipes.moe import MeteoraRecipe, SmoraRecipe
from composition.recipes.train_generator import TrainGeneratorRecipe
from composition.recipes.transfer import TransLoraRecipe
from composition.recipes.transfer_shortcuts import CrossLoraRecipe, LoRamRecipe, PortLlmRecipe, ShortcutRecipe
from composition.recipes.try_out import TryRecipe

__all__ = [
    "AssembleRecipe",
    "AverageRecipe",
    "CatRecipe",
    "CrossLoraRecipe",
    "DiscriminatorRecipe",
    "EvaluateRecipe",
    "FingerprintRecipe",
    "GenerateRecipe",
    "LegoRecipe",
    "LoRamRecipe",
    "MeasureMergeRecipe",
    "MergeRecipe",
    "MergeSearchRecipe",
    "MeteoraRecipe",
    "PortLlmRecipe",
    "Recipe",
    "ShortcutRecipe",
    "SmoraRecipe",
    "SvdRecipe",
    "TrainGeneratorRecipe",
    "TransLoraRecipe",
    "TryRecipe",
    "check_memory",
    "memory_estimate",
    "option",
    "recipe_fields",
]
