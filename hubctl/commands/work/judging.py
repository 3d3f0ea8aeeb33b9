"""Judging merges: what one lost of its inputs, the search of the best, and the best as a merge."""

from math import inf
from typing import Any

import click

from hubctl.errors import Refused
from hubctl.local_data import lies_here
from hubctl.options.common import connect, follow, json_option, need_token, url_option
from hubctl.options.data_option import paired
from hubctl.options.job_options import AN_INPUT, job_options
from hubctl.options.recipes import RecipeCommand, group_url
from hubctl.output import emit, table

SHOWN = 20
DATASET = click.option(
    "--dataset", "datasets", multiple=True, metavar="NAME[@REF]", help="Data to measure on. Repeatable."
)


@click.command("measure", cls=RecipeCommand, verb="measure")
@click.argument("name", metavar="NAME[@REF]")
@DATASET
@job_options(wait="Wait for the figures and show them.")
def measure_command(job, name, datasets) -> int:
    """Measure what the merge NAME lost: it, its inputs, their exact mean and the base, on the same rows.

    hubctl merge measure demo/ab --dataset demo/sums --dataset demo/dates --wait

    Without --dataset it takes the data that the inputs were measured on. What is known already is not measured again.
    """
    code = job.start(inputs=[name], datasets=datasets)
    if code == 0 and job.wait and not job.check and not job.as_json:
        show_loss(job.connect().loss(name))
    return code


def show_loss(told: dict[str, Any]) -> None:
    """A row a task, a column an arm, and the verdict."""
    arms = told["arms"]
    rows = [
        [f"{task['dataset']} {task['split']}", *(percent(task["shares"].get(arm["arm"])) for arm in arms), task["rows"]]
        for task in told["tasks"]
    ]
    if told["less"]:
        rows.append(["mean", *(percent(arm["mean"]) for arm in arms), ""])
    table(rows, ["task", *(arm["name"] for arm in arms), "rows"], "")
    print(told["sentence"])


@click.command("search", cls=RecipeCommand, verb="search")
@click.argument("inputs", nargs=-1, required=True, metavar="NAME[@REF]...")
@DATASET
@click.option(
    "--data",
    multiple=True,
    metavar="ADAPTER=NAME[@REF]",
    help="A dataset of each adapter's own text for RegMean, which is not measured on. Without it RegMean reads rows of "
    "the datasets to measure on, if there is one for each adapter, in their order. Repeatable.",
)
@job_options(wait="Wait for the end and show the candidates.")
def search_command(job, inputs, datasets, data) -> int:
    """Try many merges of these adapters on the datasets, few rows first, and rank them.

    hubctl merge search demo/a demo/b --dataset demo/sums --dataset demo/dates --methods svd,regmean --ranks 8,16 --wait

    Then `hubctl merge best JOB --to demo/ab` publishes the best.
    """
    texts = texts_of(inputs, data)
    if texts:
        job.recipe["text_sets"] = len(texts)
    return job.start(inputs=inputs, datasets=[*datasets, *texts])


def texts_of(inputs: tuple[str, ...], data: tuple[str, ...]) -> list[str]:
    """The datasets of --data in the adapters' order, one for each; none where none is given."""
    pairs = paired(inputs, data)
    if pairs and [label for label, _ in pairs] != list(inputs):
        raise Refused("give --data ADAPTER=NAME for every adapter, or for none.")
    for label, source in pairs:
        if lies_here(source):
            raise Refused(
                f"--data {label}={source} is a file; a search reads datasets of the hub. Push it by `hubctl dataset "
                "push`, and give its name."
            )
    return [source for _, source in pairs]


@click.command("best")
@click.argument("job_id", type=int, metavar="JOB")
@click.option("--candidate", metavar="LABEL", help="Another candidate than the best, as the search calls it.")
@click.option("--to", "output", required=True, metavar="NAME", help="Where the result goes: namespace/name.")
@click.option("--private", is_flag=True, help=AN_INPUT)
@click.option("--wait/--no-wait", help="Wait for the result.")
@json_option
@url_option
@click.pass_context
def best_command(ctx, job_id, candidate, output, private, wait, as_json, url) -> int:
    """Publish the best merge that the search JOB found.

    hubctl merge best 12 --to demo/ab --wait
    """
    with connect(url or group_url(ctx)) as hub:
        need_token(hub)
        job = hub.job(job_id)
        row = candidate_of(job, candidate)
        recipe = {name: value for name, value in row["recipe"].items() if name not in ("kind", "version")}
        read = [job["datasets"][place] for place in row.get("reads", ())]
        request = {"inputs": job["inputs"], "datasets": read, "output": output, "private": private, "recipe": recipe}
        return follow(hub, hub.queue_job(row["recipe"]["kind"], **request), wait, as_json)


def candidate_of(job: dict[str, Any], label: str | None) -> dict[str, Any]:
    """The row of the best candidate, or of the one with this label."""
    told = (job.get("outcome") or {}).get("search")
    if not told:
        raise Refused(f"job {job['id']} is no search that is done; `hubctl jobs show {job['id']}` says what it is.")
    if label is None:
        return told["arms"][told["best"]]
    found = [row for row in told["arms"].values() if row.get("label") == label]
    if not found:
        raise Refused(f"job {job['id']} has no candidate {label!r}; `hubctl merge candidates {job['id']}` lists them.")
    return found[0]


@click.command("candidates")
@click.argument("job_id", type=int, metavar="JOB")
@json_option
@url_option
@click.pass_context
def candidates_command(ctx, job_id, as_json, url) -> None:
    """List what the search JOB tried, the best first."""
    with connect(url or group_url(ctx)) as hub:
        need_token(hub)
        job = hub.job(job_id)
    candidate_of(job, None)
    if as_json:
        return emit(job["outcome"]["search"], True)
    return show_search(job["outcome"]["search"])


def show_search(told: dict[str, Any]) -> None:
    """Candidates, the best first, then what they are compared with."""
    rows = [row for row in told["arms"].values() if "label" in row]
    rows.sort(
        key=lambda row: (row["rounds"], row["quality"], -inf if row["nll"] is None else -row["nll"]), reverse=True
    )
    cells = [
        [
            row["label"],
            percent(row["quality"]),
            percent(row["kept"]),
            gap(row.get("less")),
            row["rank"],
            f"{row['made']:.1f} s",
            ", ".join(str(task["rows"]) for task in row["tasks"]),
            "front" if row.get("front") else "",
        ]
        for row in rows
    ]
    headings = [
        "candidate",
        told["metric"].replace("_", " "),
        "of inputs'",
        "best minus it",
        "rank",
        "made in",
        "rows",
        "",
    ]
    table(cells[:SHOWN], headings, "no candidate")
    if len(cells) > SHOWN:
        print(f"and {len(cells) - SHOWN} more, which went out earlier; --json has all")
    for arm, row in told["arms"].items():
        if "label" not in row:
            print(f"{arm}: {percent(row['quality'])}")


def percent(share: float | None) -> str:
    """A share in percent; nothing where it is not known."""
    return "" if share is None else f"{100 * share:.1f} %"


def gap(interval: dict[str, Any] | None) -> str:
    """A difference with its bounds, in points; nothing for who went out earlier."""
    if interval is None:
        return ""
    value, low, high = (100 * interval[name] for name in ("value", "low", "high"))
    return f"{value:+.1f} ({low:+.1f} to {high:+.1f})"
