"""What each merge of some adapters would give, before anything is merged: sentences, then figures."""

from typing import Any

import click

from hubctl.options.common import connect, json_option, need_token, url_option
from hubctl.options.recipes import RecipeCommand, group_url
from hubctl.output import emit, job_bar, size, table

PAIRS = 15
PAIR_HEADINGS = ("pair", "cos", "angle of inputs", "of outputs", "by chance", "", "signs differ", "")
HEADINGS = ("method", "rank", "size", "from the mean", "from the sum", "keeps of each", "balance", "about", "judged by")


@click.command("compare", cls=RecipeCommand, verb="compare")
@click.argument("inputs", nargs=-1, required=True, metavar="NAME[@REF]...")
@json_option
@url_option
@click.pass_context
def compare_command(ctx, inputs, as_json, url, **options: Any) -> int:
    """Compare the merge methods on these adapters, without merging and without the base model. Ctrl-C stops it.

    hubctl merge compare demo/a demo/b demo/c --rank 16
    """
    with connect(url or group_url(ctx)) as hub:
        need_token(hub)
        job = hub.queue_job(ctx.command.method["kind"], inputs=inputs, recipe=ctx.command.recipe_of(options))
        try:
            with job_bar(quiet=as_json) as watch:
                job = hub.wait(job["id"], watch=watch)
        except KeyboardInterrupt:
            hub.cancel_job(job["id"])
            click.echo(f"\nStopped; job {job['id']} is cancelled.", err=True)
            return 130
    if as_json:
        emit(job["outcome"], True)
    else:
        show(job["outcome"])
    return 0


def show(report: dict[str, Any]) -> None:
    """The sentences, what to try first, the methods, and the cosines between the adapters."""
    for sentence in report["sentences"]:
        print(sentence)
    print()
    for word, said in (("without_text", "Try first"), ("with_text", "With a little text")):
        advice = report["recommended"][word]
        if word == "without_text" or advice["kind"] != report["recommended"]["without_text"]["kind"]:
            print(f"{said}: {advice['kind']}. {advice['reason']}")
    print()
    judged = [row for row in report["methods"] if "reason" not in row]
    table([method_row(row) for row in judged], HEADINGS, "no method could be judged")
    for row in report["methods"]:
        if "reason" in row:
            print(f"{row['kind']}: {row['reason']}")
    if report["judged"] < report["modules"]:
        print(f"\nMethods were judged on {report['judged']} of {report['modules']} modules, spread over the model.")
    print()
    names = [adapter["name"] for adapter in report["adapters"]]
    numbers = [str(place) for place in range(1, len(names) + 1)]
    rows = [
        [number, name, adapter["rank"], f"{adapter['norm']:.3g}", *(share(value) for value in cosines)]
        for number, name, adapter, cosines in zip(
            numbers, names, report["adapters"], report["pairs"]["cosines"], strict=True
        )
    ]
    table(rows, ["", "adapter", "rank", "norm", *(f"cos {number}" for number in numbers)], "")
    if pairs := pair_rows(report):
        print()
        table(pairs[:PAIRS], PAIR_HEADINGS, "")
        if len(pairs) > PAIRS:
            print(f"and {len(pairs) - PAIRS} more pairs, nearer to right angles; --json has all")


def pair_rows(report: dict[str, Any]) -> list[list[str]]:
    """Two adapters a row, those whose updates are most alike or opposed first; none of a report without angles."""
    found, count = report["pairs"], len(report["adapters"])
    if "row_angle" not in found:
        return []
    places = [(i, j) for i in range(count) for j in range(i + 1, count)]
    places.sort(key=lambda at: -abs(found["cosines"][at[0]][at[1]] or 0))

    def cell(i: int, j: int, name: str, form: str) -> str:
        value = found[name][i][j] if name in found else None
        return "" if value is None else form.format(value)

    return [
        [
            f"{i + 1} and {j + 1}",
            cell(i, j, "cosines", "{:.2f}"),
            *(cell(i, j, f"{side}_angle", "{:.0f}°") for side in ("row", "column")),
            *(cell(i, j, f"{side}_chance", "{:.0f}°") for side in ("row", "column")),
            cell(i, j, "sign_conflict", "{:.1%}"),
            cell(i, j, "sign_error", "± {:.1%}"),
        ]
        for i, j in places
    ]


def method_row(row: dict[str, Any]) -> list[Any]:
    """A judged method's cells."""
    kept = [value for value in row["kept_inputs"] if value is not None]
    keeps = f"{share(min(kept))} to {share(max(kept))}" if kept else ""
    errors = [share(row["error_mean"]), share(row["error_sum"])]
    seconds = "" if row["seconds"] is None else f"{row['seconds']:.1f} s"
    return [
        row["kind"],
        row["rank"],
        size(row["bytes"]),
        *errors,
        keeps,
        share(row["balance"]),
        seconds,
        row["judged_by"],
    ]


def share(value: float | None) -> str:
    """Two digits behind the point; nothing where it is not known."""
    return "" if value is None else f"{value:.2f}"
