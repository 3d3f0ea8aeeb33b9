"""Training a generator on several devices: what each process is given, and what it does."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from composition.generative.files import load_generator, save_generator
from composition.generative.layer import Generator
from composition.generative.segments import Documents
from composition.generative.train import train_generator
from composition.progress import Progress, ignore
from composition.recipes import TrainGeneratorRecipe
from composition.registry import recipe_from_dict
from composition.training.parallel import Replicas, launch

MADE = "made"


def train_replicated(
    base: Path,
    recipe: TrainGeneratorRecipe,
    data: Documents | Sequence[Mapping[str, Any]],
    *,
    processes: int,
    base_model: str,
    work: Path,
    start: Path | None = None,
    progress: Progress = ignore,
) -> Generator:
    """`train_generator` in several processes, each with a base of its own, loaded from the folder; one a GPU.

    A step's documents are dealt out among them, so it takes as many documents as processes to use all: batch_tokens
    should be at least processes · segments · the longest window. The state in `work` is the one of `train_generator`:
    a run may go on with another number of processes.
    """
    given = {"paths": [str(path) for path in data.paths]} if isinstance(data, Documents) else {"rows": list(data)}
    arguments = {
        **given,
        "base": str(base),
        "base_model": base_model,
        "recipe": recipe.to_dict(),
        "work": str(work),
        "start": start and str(start),
    }
    launch(f"{__name__}:train_share", arguments, processes=processes, progress=progress)
    return load_generator(work / MADE)


def train_share(arguments: dict[str, Any], replicas: Replicas, progress: Progress) -> None:
    """One of the processes; the first leaves the generator in work/made."""
    from composition.running.base_models import load_base

    recipe = recipe_from_dict(arguments["recipe"])
    assert isinstance(recipe, TrainGeneratorRecipe)
    base, tokenizer = load_base(arguments["base"], device_map={"": replicas.device})
    work = Path(arguments["work"])
    generator = train_generator(
        base,
        tokenizer,
        recipe,
        Documents([Path(path) for path in arguments["paths"]]) if "paths" in arguments else arguments["rows"],
        base_model=arguments["base_model"],
        work=work,
        start=load_generator(Path(arguments["start"])) if arguments["start"] else None,
        progress=progress,
        replicas=replicas,
    )
    if replicas.first:
        save_generator(generator, work / MADE, dtype=torch.float32)
