"""What every command that starts a job shares: its options, and the way from a request to a checked or started job.

A command adds its own options and ends with `job.start(…)`:

    @click.command("merge", cls=MethodCommand, method=method)
    @click.argument("inputs", nargs=-1)
    @job_options(to="required", private="Make the result private.")
    def merge(job, inputs):
        return job.start(inputs=inputs)
"""

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from hubctl.options.common import connect, follow, json_option, need_token, url_option
from hubctl.options.recipes import MethodCommand
from hubctl.output import emit, size

if TYPE_CHECKING:
    from hubctl.client import Hub

CHECK = "Only check the job and show what it would make and cost; start nothing."
AN_INPUT = "Make the result private; it always is if an input is private."
# An urgent job, which only administrators of the site may ask for, comes before everyone's.
PRIORITIES = ("low", "normal", "high", "urgent")
Command = Callable[..., Any]


def job_options(
    *, to: str = "", private: str = "", public: str = "", wait: str = "Wait for the result.", check: str = CHECK
) -> Callable[[Command], Command]:
    """The options of a command that starts a job; the command gets a `JobOptions` as its first argument.

    `to` is "required" or "optional" where the job may have an output; `private` and `public` are the help of these
    flags where the command has them; `wait` and `check` the help of those.
    """
    options = [
        *([_to(to == "required")] if to else []),
        *([click.option("--private", is_flag=True, help=private)] if private else []),
        *([click.option("--public", is_flag=True, help=public)] if public else []),
        click.option("--wait/--no-wait", help=wait),
        click.option("--check", is_flag=True, help=check),
        click.option("--priority", type=click.Choice(PRIORITIES), help="Its place among your own waiting jobs."),
        click.option("--idempotency-key", metavar="KEY", help="The same key and request give the same job again."),
        json_option,
        url_option,
    ]

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def wrapped(**given: Any) -> Any:
            return command(JobOptions(click.get_current_context(), given), **given)

        for option in reversed(options):
            wrapped = option(wrapped)
        return wrapped

    return decorate


def _to(required: bool) -> Callable[[Command], Command]:
    return click.option(
        "--to", "output", required=required, metavar="NAME", help="Where the result goes: namespace/name."
    )


class JobOptions:
    """The job options that were given and the recipe beside them; `method` is the row of /methods to be run."""

    def __init__(self, ctx: click.Context, given: dict[str, Any]) -> None:
        """Takes its own options out of `given`; the rest are the command's."""
        command = ctx.command
        assert isinstance(command, MethodCommand) and command.method is not None
        self.ctx, self.method = ctx, command.method
        self.recipe = command.recipe_of(given)
        self.as_json: bool = given.pop("as_json")
        self.wait: bool = given.pop("wait")
        self.check: bool = given.pop("check")
        self.idempotency_key: str | None = given.pop("idempotency_key")
        self.url: str | None = given.pop("url") or ctx.meta.get("hubctl.url")
        named = ("output", "private", "public", "priority")
        self.result = {name: given.pop(name) for name in named if name in given}
        if self.result.get("private") and self.result.get("public"):
            raise click.UsageError("give --private or --public, not both.")
        self._hub: Hub | None = None

    def connect(self) -> "Hub":
        """The hub, open until the command ends; raises Forbidden where nobody is signed in."""
        if self._hub is None:
            self._hub = self.ctx.with_resource(connect(self.url))
            need_token(self._hub)
        return self._hub

    def start(self, /, **request: Any) -> int:
        """Check the job, or queue and follow it, as the options say; returns the exit code.

        `request` is what `Hub.queue_job` takes beside recipe, output, visibility and priority.
        """
        hub = self.connect()
        request = {"recipe": self.recipe, **self.result, **request}
        if self.check:
            return checked(hub, self.method["kind"], self.as_json, **request)
        job = hub.queue_job(self.method["kind"], **request, idempotency_key=self.idempotency_key)
        return follow(hub, job, self.wait, self.as_json)


def checked(hub: "Hub", kind: str, as_json: bool, /, **request: Any) -> int:
    """Print what the hub says would come of a job; 0 if it would start."""
    report = hub.check_job(kind, **request)
    code = 0 if report["ok"] else 1
    if as_json:
        emit(report, True)
        return code
    for problem in report["problems"]:
        print(f"problem: {problem['message']}")
    for line in (report.get("waiting_for"), *report.get("licence_conflicts", []), *report.get("notes", [])):
        if line:
            print(f"note: {line}")
    for way in report.get("shortcuts", []):
        print(f"shorter way: --method {way['kind']}: {way['reason']}")
    if report["ok"]:
        rank = f"rank {report['rank']}, " if report.get("rank") else ""
        memory = f", {size(report['memory'])} of memory" if report.get("memory") else ""
        if becomes := report.get("becomes"):
            where = "in a new repository" if becomes["new"] else "the next version of a repository that is there"
            print(f"becomes: {becomes['name']}, {where}")
        print(f"fits: {rank}about {report['seconds']} s{memory}, result {report['visibility']}")
    return code
