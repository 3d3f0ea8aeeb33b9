"""What commands share: `--url`, `--json`, the connection, and waiting for a job."""

import functools
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from hubctl.config import current
from hubctl.errors import Forbidden
from hubctl.output import emit, job_bar

if TYPE_CHECKING:
    from hubctl.client import Hub


def json_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """`--json`, handed on as `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command)


def url_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """`--url`."""
    return click.option(
        "--url", metavar="URL", help="The hub's address; default: HUBCTL_URL, then the one signed in to."
    )(command)


def with_hub(command: Callable[..., Any]) -> Callable[..., Any]:
    """`--url` and `--json`; the command gets an open `Hub` as its first argument and `as_json`."""

    @functools.wraps(command)
    def wrapped(*args: Any, url: str | None, **options: Any) -> Any:
        with connect(url) as hub:
            return command(hub, *args, **options)

    return url_option(json_option(wrapped))


def connect(url: str | None = None) -> "Hub":
    """A `Hub` for the given address and the remembered token."""
    from hubctl.client import Hub

    return Hub(*current(url))


def need_token(hub: "Hub") -> None:
    """Refuse before any work if there is no token."""
    if not hub.transport.token:
        raise Forbidden(f"not signed in to {hub.url}: run `hubctl login {hub.url}`, or set HUBCTL_TOKEN.")


def follow(hub: "Hub", job: dict[str, Any], wait: bool, as_json: bool, log: bool = False) -> int:
    """Show a started job: at once, or after waiting for its end, with its log's lines where `log` is set.

    Ctrl-C leaves the job running and says so.
    """
    if not wait:
        emit(job, as_json, f"job {job['id']} {job['state']}; watch it: hubctl jobs watch {job['id']}")
        return 0
    try:
        with job_bar(quiet=as_json) as watch:
            tell = log_line if log and not as_json else lambda text: None
            job = hub.wait(job["id"], watch=watch, log=tell)
    except KeyboardInterrupt:
        click.echo(f"\nThe job keeps running. Watch it: hubctl jobs watch {job['id']}", err=True)
        click.echo(f"Stop it:  hubctl jobs cancel {job['id']}", err=True)
        return 130
    emit(job, as_json, job_summary(job))
    return 0


def log_line(text: str) -> None:
    """A line of a job's log, on stderr, above the bar."""
    print(f"  {text}", file=sys.stderr, flush=True)


def job_summary(job: dict[str, Any]) -> str:
    """What came of a finished job, in a line or a few."""
    lines = [f"job {job['id']} {job['state']}" + (f": {job['result']}" if job.get("result") else "")]
    evaluation = job.get("evaluation") or {}
    for name, value in (evaluation.get("metrics") or {}).items():
        lines.append(f"  {name:12} {value:.4f}" if isinstance(value, float) else f"  {name:12} {value}")
    if evaluation:
        lines.append(f"  {'rows':12} {evaluation.get('rows')}")
    for name in ("recall", "specificity"):
        if isinstance(value := (job.get("figures") or {}).get(name), float):
            lines.append(f"  {name:12} {value:.3f}")
    if job.get("outcome", {}) and (best := best_of(job["outcome"])):
        lines.append(f"  the best: {best['label']}, {100 * best['quality']:.1f} % right")
        lines.append(f"  hubctl merge candidates {job['id']}")
        lines.append(f"  hubctl merge best {job['id']} --to NAME")
    if job.get("result"):
        lines.append(f"  hubctl pull {job['result']} -o out/")
    return "\n".join(lines)


def best_of(outcome: dict[str, Any]) -> dict[str, Any] | None:
    """The best candidate of a search, None where the answer is of something else."""
    found = outcome.get("search")
    return found["arms"][found["best"]] if found else None
