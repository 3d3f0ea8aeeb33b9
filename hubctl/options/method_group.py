"""A command group whose subcommands are the hub's methods of one verb, asked for when needed, and some of its own."""

from typing import Any

import click

from hubctl.errors import HubctlError
from hubctl.options.recipes import MethodCommand, hub_url, methods


class MethodGroup(click.Group):
    """`verb` picks the methods ("" is all), `each` is the command behind all of them, with its own options."""

    heading = "Methods"

    def __init__(self, *args: Any, verb: str, each: click.Command, **rest: Any) -> None:
        super().__init__(*args, **rest)
        self.verb, self.each = verb, each

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta["hubctl.url"] = hub_url(args)
        return super().parse_args(ctx, args)

    def methods(self, ctx: click.Context) -> dict[str, dict[str, Any]]:
        """kind → method, asked for once a call."""
        key = "hubctl.methods"
        if key not in ctx.meta:
            url = ctx.params.get("url") or ctx.meta.get("hubctl.url")
            ctx.meta[key] = {method["kind"]: method for method in methods(self.verb, url)}
        return ctx.meta[key]

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*self.commands, *self.methods(ctx)]

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if own := super().get_command(ctx, name):
            return own
        method = self.methods(ctx).get(name)
        if method is None:
            return None
        params, act = list(self.each.params), self.each.callback
        return MethodCommand(name, method=method, params=params, callback=act, help=help_of(method))

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        if self.commands:
            with formatter.section("Commands"):
                formatter.write_dl([(name, one.get_short_help_str(90)) for name, one in self.commands.items()])
        with formatter.section(self.heading):
            try:
                rows = [(kind, method["summary"]) for kind, method in self.methods(ctx).items()]
            except HubctlError as error:
                formatter.write_text(f"(they can't be listed: {error.message})")
                return
            formatter.write_dl(rows)


def help_of(method: dict[str, Any]) -> str:
    """What `--help` says of a method."""
    return method["summary"] + (f"\n\nPaper: {method['paper']}" if method.get("paper") else "")
