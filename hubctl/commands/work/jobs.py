"""Jobs: the work the hub does for its users."""

import click

from hubctl.options.common import follow, need_token, with_hub
from hubctl.options.job_options import PRIORITIES
from hubctl.output import describe, emit, table
from hubctl.watching import FINAL_STATES

STATES = ["queued", "loading", "running", "saving", "done", "failed", "cancelled"]


@click.group("jobs")
def jobs_command() -> None:
    """List, watch, cancel and retry jobs."""


@jobs_command.command("list")
@click.option("--state", type=click.Choice(STATES))
@click.option("--limit", default=30, show_default=True)
@with_hub
def list_(hub, state, limit, as_json) -> None:
    """List your newest jobs."""
    need_token(hub)
    found = hub.jobs(state or "", limit=limit)
    if as_json:
        return emit(found, True)
    rows = [
        [j["id"], j["kind"], j["state"], f"{100 * (j['progress'] or 0):.0f} %", j["output"], j["result"], _said(j)]
        for j in found
    ]
    return table(rows, ["id", "kind", "state", "done", "to", "result", ""], "No jobs.")


def _said(job: dict) -> str:
    error = job.get("error") or {}
    return str(error.get("message") or job.get("waiting_for") or job.get("message") or "")[:100]


@jobs_command.command("show")
@click.argument("job_id", type=int)
@with_hub
def show(hub, job_id, as_json) -> None:
    """Show one job with its log."""
    need_token(hub)
    job, log = hub.job(job_id), hub.job_log(job_id)
    if as_json:
        return emit({**job, "log": log}, True)
    names = ("id", "kind", "state", "attempt", "inputs", "datasets", "base", "output", "result")
    names += ("priority", "waiting_for")
    shown = [(name, ", ".join(job[name]) if isinstance(job[name], list) else job[name]) for name in names]
    print(describe([*shown, ("error", (job.get("error") or {}).get("message"))]))
    for line in log:
        print(f"  {str(line['at'])[11:19]}  {line['text']}")
    return None


@jobs_command.command("watch")
@click.argument("job_id", type=int)
@with_hub
def watch(hub, job_id, as_json) -> int:
    """Follow a job to its end. Ctrl-C stops watching, not the job."""
    need_token(hub)
    return follow(hub, hub.job(job_id), True, as_json, log=True)


@jobs_command.command("cancel")
@click.argument("job_id", type=int)
@with_hub
def cancel(hub, job_id, as_json) -> None:
    """Stop a job; its work so far is dropped."""
    need_token(hub)
    job = hub.cancel_job(job_id)
    emit(job, as_json, f"job {job_id} {job['state'] if job['state'] in FINAL_STATES else 'is stopping'}")


@jobs_command.command("priority")
@click.argument("job_id", type=int)
@click.argument("priority", type=click.Choice(PRIORITIES))
@with_hub
def priority(hub, job_id, priority, as_json) -> None:
    """Let a waiting job come before or after your others."""
    need_token(hub)
    emit(hub.set_priority(job_id, priority), as_json, f"job {job_id} has priority {priority}")


@jobs_command.command("retry")
@click.argument("job_id", type=int)
@click.option("--wait/--no-wait", help="Wait for the job to end.")
@with_hub
def retry(hub, job_id, wait, as_json) -> int:
    """Queue a failed or cancelled job again."""
    need_token(hub)
    return follow(hub, hub.retry_job(job_id), wait, as_json)


@jobs_command.command("recipe")
@click.argument("job_id", type=int)
@with_hub
def recipe(hub, job_id, as_json) -> None:
    """Print a job as YAML, with its inputs' digests: `hubctl merge --recipe FILE` runs it again.

    hubctl jobs recipe 12 > ab.yaml
    """
    need_token(hub)
    text = hub.job_recipe(job_id)
    emit({"recipe": text}, as_json, text.rstrip("\n"))
