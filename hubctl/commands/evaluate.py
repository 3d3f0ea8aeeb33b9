"""Measuring and comparing."""

from typing import Any

import click

from hubctl.commands.common import connect, follow, json_option, need_token, url_option, with_hub
from hubctl.commands.recipes import RecipeCommand, checked, recipe_of
from hubctl.output import emit, table


@click.command("eval", cls=RecipeCommand, verb="evaluate")
@click.argument("name", required=False, metavar="[NAME[@REF]]")
@click.option("--dataset", required=True, metavar="NAME[@REF]", help="The data to measure on.")
@click.option("--base", metavar="BASE", help="Measure this bare base instead of an adapter.")
@click.option("--wait/--no-wait", help="Wait for the figures.")
@click.option("--check", is_flag=True, help="Only say what would come of it.")
@click.option("--idempotency-key", metavar="KEY", help="The same key and request give the same job again.")
@json_option
@url_option
@click.pass_context
def eval_command(ctx, name, dataset, base, wait, check, idempotency_key, as_json, url, **options: Any) -> int:
    """Measure the adapter NAME, or a bare base, on a dataset. The figures are kept with the version."""
    if not name and not base:
        raise click.UsageError("name an adapter, or a bare base with --base.")
    with connect(url) as hub:
        need_token(hub)
        recipe = recipe_of(ctx.meta["hubctl.method"]["fields"], options)
        request = {"inputs": [name] if name else [], "datasets": [dataset], "base": base, "recipe": recipe}
        if check:
            return checked(hub, "evaluate", as_json, **request)
        job = hub.queue_job("evaluate", **request, idempotency_key=idempotency_key)
        return follow(hub, job, wait, as_json)


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
    return table(rows, ["dataset", "metric", *found["columns"]], "Nothing measured yet: `hubctl eval` measures.")
