"""Merging: one subcommand a method of the hub."""

from typing import Any

import click

from hubctl.commands.common import connect, follow, json_option, need_token, url_option
from hubctl.commands.recipes import checked, hub_url, methods, options_of, recipe_of
from hubctl.errors import HubctlError


class MergeMethods(click.Group):
    """The merge methods this hub offers, asked for when needed."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta["hubctl.url"] = hub_url(args)
        return super().parse_args(ctx, args)

    def _methods(self, ctx: click.Context) -> dict[str, dict[str, Any]]:
        key = "hubctl.methods"
        if key not in ctx.meta:
            url = ctx.params.get("url") or ctx.meta.get("hubctl.url")
            ctx.meta[key] = {method["kind"]: method for method in methods("merge", url)}
        return ctx.meta[key]

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self._methods(ctx))

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        method = self._methods(ctx).get(name)
        return merge_with(method) if method else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Methods"):
            try:
                rows = [(kind, method["summary"]) for kind, method in self._methods(ctx).items()]
            except HubctlError as error:
                formatter.write_text(f"(the hub lists them, but: {error.message})")
                return
            formatter.write_dl(rows)


@click.group("merge", cls=MergeMethods, context_settings={"help_option_names": ["-h", "--help"]})
@url_option
def merge_command(url) -> None:
    """Merge adapters of one base into a new version of another repository.

    hubctl merge lego demo/a@v1 demo/b --rank 16 --to demo/ab --wait
    """


def merge_with(method: dict[str, Any]) -> click.Command:
    """The command of one method."""
    fields = method["fields"]

    @click.argument("inputs", nargs=-1, required=True, metavar="NAME[@REF]...")
    @click.option("--to", "output", required=True, metavar="NAME", help="Where the result goes: namespace/name.")
    @click.option("--private", is_flag=True, help="Make the result private; it is anyway where an input is.")
    @click.option("--wait/--no-wait", help="Wait for the result.")
    @click.option("--check", is_flag=True, help="Only say what would come of it.")
    @click.option("--idempotency-key", metavar="KEY", help="The same key and request give the same job again.")
    @json_option
    @url_option
    @click.pass_context
    def merge(ctx, inputs, output, private, wait, check, idempotency_key, as_json, url, **options) -> int:
        with connect(url or ctx.meta.get("hubctl.url")) as hub:
            need_token(hub)
            recipe = recipe_of(fields, options)
            request = {"inputs": inputs, "output": output, "recipe": recipe, "private": private}
            if check:
                return checked(hub, method["kind"], as_json, **request)
            job = hub.queue_job(method["kind"], **request, idempotency_key=idempotency_key)
            return follow(hub, job, wait, as_json)

    paper = f"\n\nPaper: {method['paper']}" if method.get("paper") else ""
    command = click.command(method["kind"], help=f"{method['summary']}{paper}")(merge)
    command.params += options_of(fields)
    return command
