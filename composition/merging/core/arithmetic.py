"""Task arithmetic (Ilharco et al., 2023, arXiv:2212.04089): λ Σ w_i ΔW_i, cut to rank k."""

from collections.abc import Sequence

from torch import Tensor

from composition.merging.core.cores import Cores
from composition.merging.core.merge import merge_cores
from composition.merging.diagnostics import MergeResult
from composition.progress import Progress, ignore
from composition.recipes.merge.core import TaskArithmeticRecipe
from composition.weights import LoraWeights

__all__ = ["TaskArithmeticRecipe", "task_arithmetic"]


def task_arithmetic(
    adapters: Sequence[LoraWeights], recipe: TaskArithmeticRecipe, *, progress: Progress = ignore
) -> MergeResult:
    """Raises CompositionError where the adapters don't fit the recipe or hold values that are not finite."""
    return merge_cores(adapters, recipe, merged, said="Added", progress=progress)


def merged(cores: Cores, recipe: TaskArithmeticRecipe) -> Tensor:
    """[p, q]: λ Σ w_i M_i."""
    return recipe.scale * cores.whole(recipe.weights or (1.0,) * len(cores.ranks))
