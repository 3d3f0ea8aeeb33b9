"""Whether a transfer lost something: the arms on the same rows, and what their difference means."""

import click

from hubctl.options.common import need_token, with_hub
from hubctl.output import emit, job_bar, table


@click.command("verdict")
@click.argument("name", metavar="NAME[@REF]")
@click.option(
    "--dataset", metavar="NAME[@REF]", help="The dataset to judge on; default: the one most arms were measured on."
)
@click.option("--oracle", metavar="NAME[@REF]", help="An adapter trained on the target with real data: the ceiling.")
@click.option("--measure", is_flag=True, help="Queue the evaluations that are missing; needs --dataset.")
@click.option(
    "--limit", type=int, metavar="ROWS", help="With --measure: use the first ROWS rows, the same for all arms."
)
@click.option("--wait/--no-wait", help="With --measure: wait for them.")
@with_hub
def verdict_command(hub, name, dataset, oracle, measure, limit, wait, as_json) -> None:
    """Say whether the transferred adapter NAME is as good as the better of its parent and the bare target.

    hubctl verdict demo/sums-new --dataset demo/sums-test --measure --wait
    """
    if measure:
        need_token(hub)
        if not dataset:
            raise click.UsageError("--measure needs --dataset: the rows all arms are measured on.")
        queued = hub.measure_arms(name, dataset, oracle=oracle, recipe={"limit": limit} if limit else None)
        if not wait:
            said = f"{len(queued)} evaluations queued: jobs {', '.join(str(job['id']) for job in queued)}"
            return emit(queued, as_json, said)
        with job_bar(quiet=as_json) as watch:
            for job in queued:
                hub.wait(job["id"], watch=watch)
    found = hub.verdict(name, dataset=dataset, oracle=oracle)
    if as_json:
        return emit(found, True)
    gaps = {row["role"]: row for row in found["differences"]}
    rows = [
        [arm["role"], arm["name"], *share(arm["share"]), gap(gaps.get(arm["role"])), arm["rows"]]
        for arm in found["arms"]
    ]
    if rows:
        metric = (found["metric"] or "").replace("_", " ")
        table(rows, ["arm", "what", metric, "95 %", "transferred minus it", "rows"], "")
    print(found["sentence"])
    return None


def share(interval: dict | None) -> tuple[str, str]:
    """(value, bounds) in percent."""
    if interval is None:
        return "not measured", ""
    return f"{100 * interval['value']:.1f} %", f"{100 * interval['low']:.1f} to {100 * interval['high']:.1f}"


def gap(interval: dict | None) -> str:
    """A difference with its bounds, in points."""
    if interval is None:
        return ""
    value, low, high = (100 * interval[name] for name in ("value", "low", "high"))
    return f"{value:+.1f} ({low:+.1f} to {high:+.1f})"
