"""What is shown of answers about merges: what one lost, and the candidates of a search with their front."""

from collections.abc import Callable
from math import inf
from urllib.parse import urlencode

from composition.recipes import MeasureMergeRecipe
from hub import queries
from hub.access import Viewer
from hub.errors import Invalid
from hub.http.job_serializers import Sight
from hub.models import ADAPTER, DATASET, Job
from hub.services.jobs.kinds import kind_of
from hub.services.jobs.kinds.measure_merge import is_merge
from hub.web.charts import front
from hub.web.pages.repository import Heading

SHOWN = 40
"""Candidates in the table; the rest went out in the first rounds."""


def build(viewer: Viewer, job: Job) -> dict:
    """{"template", …} for templates/jobs/job.html; nothing where the job has no such answer for this viewer."""
    page, sight = kind_of(job.kind).answer_page, Sight(viewer, [job])
    if page not in BUILDERS or not sight.outcome(job):
        return {}
    return {"template": page, **BUILDERS[page](job, sight.name)}


def of_version(viewer: Viewer, page: Heading) -> dict:
    """For templates/repository/lost.html; nothing for a version that was not merged here."""
    if page.version is None or not is_merge(page.version):
        return {}
    found = queries.loss_of(viewer, page.version)
    return {"merged": True, "judged": found and lost_table(found), "measure": MeasureMergeRecipe.kind}


def lost(job: Job, name: Callable) -> dict:
    """For templates/jobs/loss.html."""
    return lost_table(queries.loss_table(job, name))


def lost_table(told: dict) -> dict:
    """The table tasks × arms, each task's best input marked, with the mean over the tasks."""
    arms = told["arms"]
    rows = [
        {
            **task,
            "cells": [
                {
                    "share": task["shares"].get(arm["arm"]),
                    "kept": task["kept"].get(arm["arm"]),
                    "nll": task["nll"].get(arm["arm"]),
                    "best": arm["arm"] == task["best"],
                }
                for arm in arms
            ],
        }
        for task in told["tasks"]
    ]
    return {**told, "rows": rows}


def searched(job: Job, name: Callable) -> dict:
    """For templates/jobs/search.html: candidates, the best first, what they are compared with, a drawing."""
    told, inputs = job.outcome["search"], list(job.inputs.all())
    adapters = sorted((row for row in inputs if row.role == ADAPTER), key=lambda row: row.position)
    datasets = sorted((row for row in inputs if row.role == DATASET), key=lambda row: row.position)
    names = {"base": job.base.name, "mean": "exact mean"}
    names |= {f"input-{number}": name(row.version) for number, row in enumerate(adapters)}
    rows = [{**row, "arm": arm, "best": arm == told["best"]} for arm, row in told["arms"].items() if "recipe" in row]
    rows.sort(
        key=lambda row: (row["rounds"], row["quality"], -inf if row["nll"] is None else -row["nll"]), reverse=True
    )
    beside = [{**row, "name": names[arm]} for arm, row in told["arms"].items() if arm in names]
    return {
        "candidates": rows[:SHOWN],
        "more": max(0, len(rows) - SHOWN),
        "beside": beside,
        "best": told["arms"][told["best"]],
        "own": told["own"],
        "metric": told["metric"],
        "rounds": told["rounds"],
        # Datasets of text come after those that were measured on, and have no split here.
        "tasks": [f"{name(row.version)} {split}" for row, split in zip(datasets, told["splits"], strict=False)],
        "picture": front.picture([row for row in rows if "front" in row]),
        "on_test": "test" in told["splits"],
    }


def candidate_fields(viewer: Viewer, job: Job, candidate: str) -> str:
    """The query of the merge page that fills in a candidate's recipe, with the data that it reads. Invalid where there
    is no such candidate, or this viewer may not see the answer."""
    sight = Sight(viewer, [job])
    row = (sight.outcome(job) or {}).get("search", {}).get("arms", {}).get(candidate, {})
    if "recipe" not in row:
        raise Invalid(f"Job {job.pk} has no candidate {candidate[:40]!r}.", field="candidate")
    recipe = {name: value for name, value in row["recipe"].items() if name != "version" and value is not None}
    said = {name: str(value).lower() if isinstance(value, bool) else value for name, value in recipe.items()}
    data = sorted((one for one in job.inputs.all() if one.role == DATASET), key=lambda one: one.position)
    said |= {"datasets": [sight.name(data[place].version) for place in row["reads"]]} if "reads" in row else {}
    return urlencode(said, doseq=True)


BUILDERS = {"jobs/loss.html": lost, "jobs/search.html": searched}
