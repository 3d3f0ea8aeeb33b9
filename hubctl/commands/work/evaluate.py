"""Measuring and comparing."""

import click

from hubctl.options.common import with_hub
from hubctl.options.job_options import job_options
from hubctl.options.recipes import RecipeCommand
from hubctl.output import emit, table


@click.command("eval", cls=RecipeCommand, verb="evaluate")
@click.argument("name", required=False, metavar="[NAME[@REF]]")
@click.option("--dataset", required=True, metavar="NAME[@REF]", help="The data to measure on.")
@click.option("--base", metavar="BASE", help="Measure this bare base instead of an adapter.")
@job_options(wait="Wait for the figures.")
def eval_command(job, name, dataset, base) -> int:
    """Measure the adapter NAME, or a bare base, on a dataset. The figures are kept with the version."""
    if not name and not base:
        raise click.UsageError("name an adapter, or a bare base with --base.")
    return job.start(inputs=[name] if name else [], datasets=[dataset], base=base)


@click.command("compare")
@click.argument("names", nargs=-1, required=True, metavar="NAME[@REF]...")
@click.option("--dataset", metavar="NAME[@REF]", help="On this dataset only.")
@click.option("--metric", help="Show this metric only.")
@with_hub
def compare_command(hub, names, dataset, metric, as_json) -> None:
    """Set the newest figures of versions, and of their bare bases, side by side."""
    found = hub.compare(names, dataset)
    if as_json:
        return emit(found, True)
    rows = []
    for line in found["rows"]:
        named = {name for column in line["metrics"].values() for name in column if name != "rows"}
        for name in sorted(named):
            if metric in (None, name):
                cells = [line["metrics"].get(column, {}).get(name) for column in found["columns"]]
                label = f"{line['dataset']} {line['split']}"
                rows.append([label, name, *(f"{c:.4f}" if isinstance(c, float) else c for c in cells)])
    return table(rows, ["dataset", "metric", *found["columns"]], "Nothing measured yet: use `hubctl eval`.")
