"""A command group whose subcommands are the hub's methods of one verb, asked for when needed."""

from collections.abc import Callable
from typing import Any

import click

from hubctl.commands.recipes import hub_url, methods
from hubctl.errors import HubctlError


class MethodGroup(click.Group):
    """`verb` picks the methods, `build` makes the command of one."""

    verb = ""
    build: Callable[[dict[str, Any]], click.Command]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta["hubctl.url"] = hub_url(args)
        return super().parse_args(ctx, args)

    def _methods(self, ctx: click.Context) -> dict[str, dict[str, Any]]:
        key = "hubctl.methods"
        if key not in ctx.meta:
            url = ctx.params.get("url") or ctx.meta.get("hubctl.url")
            ctx.meta[key] = {method["kind"]: method for method in methods(self.verb, url)}
        return ctx.meta[key]

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self._methods(ctx))

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        method = self._methods(ctx).get(name)
        return type(self).build(method) if method else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Methods"):
            try:
                rows = [(kind, method["summary"]) for kind, method in self._methods(ctx).items()]
            except HubctlError as error:
                formatter.write_text(f"(the hub lists them, but: {error.message})")
                return
            formatter.write_dl(rows)


def help_of(method: dict[str, Any]) -> str:
    """What `--help` says of a method."""
    return method["summary"] + (f"\n\nPaper: {method['paper']}" if method.get("paper") else "")
