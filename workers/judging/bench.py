"""A bench: one base in memory, and arms that are attached to it in turn, measured on some datasets, and taken off.

An arm is the bare base, an input of the job, or a merge of the inputs that is made for the time of its measurement: by
the function that a merge job calls and written as that job would write it, so that publishing it gives the same bytes.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from types import MappingProxyType
from typing import Any

from composition.progress import Progress
from composition.recipes import EvaluateRecipe, MergeRecipe
from composition.registry import METHODS
from hub.models import DATASET, JobInput
from workers.attempt import Attempt
from workers.inputs import adapter_of, dataset_rows, inputs_of, replaces
from workers.publishing import result_folder
from workers.telling import public_names
from workers.worker import Worker

Model = tuple[Any, Any]


class Bench:
    """Measures arms of a job on its datasets; `recipes` has one evaluation for each, `rows` the rows of each.

    `text` is what merges that read text are given beside the base: their data, and where they keep what they read.
    """

    def __init__(
        self,
        attempt: Attempt,
        worker: Worker,
        recipes: Sequence[EvaluateRecipe],
        text: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        self.attempt, self.worker, self.recipes, self.text = attempt, worker, recipes, text
        self.base = attempt.job.base
        pairs = zip(inputs_of(attempt.job, DATASET), recipes, strict=False)
        self.rows = [dataset_rows(attempt, worker, row, recipe.split)[: recipe.limit] for row, recipe in pairs]
        self._adapters: list[Any] | None = None

    def measure(
        self, model: AbstractContextManager[Model], begin: int = 0, end: int | None = None, skip: Sequence[int] = ()
    ) -> tuple[list[Any], float]:
        """(an EvaluationResult for each dataset, seconds until the arm was ready): the arm on rows `begin` to `end`.

        The result is None where there are no such rows, and of the datasets in `skip`.
        """
        evaluate = METHODS[EvaluateRecipe.kind].load()
        start = time.monotonic()
        with model as pair:
            ready, found = time.monotonic() - start, []
            for number, (rows, recipe) in enumerate(zip(self.rows, self.recipes, strict=True)):
                asked = [] if number in skip else rows[begin:end]
                found.append(evaluate(*pair, asked, recipe, progress=self._heard) if asked else None)
        return found, ready

    def bare(self) -> AbstractContextManager[Model]:
        """The base alone."""
        return nullcontext(self.worker.models.get(self.base, self.attempt.say))

    def stored(self, row: JobInput) -> AbstractContextManager[Model]:
        """The base with an input of the job."""
        return self._attached(self.worker.input_folder(row), replaces_base=replaces(row.version))

    @contextmanager
    def merged(self, recipe: MergeRecipe, rows: Sequence[JobInput]) -> Iterator[Model]:
        """The base with the merge of these inputs, which are the same at every call."""
        from composition.weights import save_peft

        with result_folder(self.worker) as folder:
            result = self.merge(recipe, rows, self._heard)
            save_peft(
                result.weights, folder, base_model=self.base.name, layout=recipe.layout, base_shapes=self.base.shapes
            )
            del result
            with self._attached(folder, replaces_base=False) as pair:
                yield pair

    def merge(self, recipe: MergeRecipe, rows: Sequence[JobInput], progress: Progress) -> Any:
        """The merge of these inputs by the function that a merge job calls."""
        method, read = METHODS[recipe.kind], {}
        if method.needs.base_model:
            model, tokenizer = self.worker.models.get(self.base, self.attempt.say)
            read = {"model": model, "tokenizer": tokenizer, **self.text}
        return method.load()(self._read(rows), recipe, **read, progress=progress)

    def _attached(self, folder: Path, *, replaces_base: bool) -> AbstractContextManager[Model]:
        return self.worker.models.with_adapter(self.base, folder, replaces_base=replaces_base, say=self.attempt.say)

    def _read(self, rows: Sequence[JobInput]) -> list[Any]:
        if self._adapters is None:
            names = public_names(self.attempt.job, [row.version for row in rows])
            pairs = zip(rows, names, strict=True)
            self._adapters = [adapter_of(self.attempt, self.worker, row, name) for row, name in pairs]
        return self._adapters

    def _heard(self, fraction: float, message: str = "", **figures: float) -> None:
        """Within one arm only whether to go on is asked; the job's progress counts arms."""
        self.attempt.check()
