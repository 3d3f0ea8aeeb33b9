"""A merge whose coefficients are learnt on data: the training's state outlives a kill, in the worker's cache."""

import shutil

from composition.recipes.merge.learned import LearnedRecipe
from workers.attempt import Attempt
from workers.kinds import WorkerKind, work_folder
from workers.kinds.calibrated import merge_with_data
from workers.worker import Worker


def learned(attempt: Attempt, worker: Worker) -> None:
    """Learn the coefficients and merge. Raises what the method refuses, and LostLease when the attempt is over."""
    work = work_folder(worker, attempt.job)
    merge_with_data(attempt, worker, work=work)
    shutil.rmtree(work, ignore_errors=True)


HOME = WorkerKind(recipe=LearnedRecipe, run=learned, work="learned")
