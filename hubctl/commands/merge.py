"""Merging: one subcommand a method of the hub."""

from typing import Any

import click

from hubctl.commands.common import connect, follow, json_option, need_token, url_option
from hubctl.commands.method_group import MethodGroup, help_of
from hubctl.commands.recipes import checked, options_of, recipe_of


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

    command = click.command(method["kind"], help=help_of(method))(merge)
    command.params += options_of(fields)
    return command


class MergeMethods(MethodGroup):
    """The merge methods of this hub."""

    verb = "merge"
    build = staticmethod(merge_with)


@click.group("merge", cls=MergeMethods, context_settings={"help_option_names": ["-h", "--help"]})
@url_option
def merge_command(url) -> None:
    """Merge adapters of one base into a new version of another repository.

    hubctl merge lego demo/a@v1 demo/b --rank 16 --to demo/ab --wait
    """
