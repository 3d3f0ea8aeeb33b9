"""Moving an adapter to another base model."""

import json

import click

from hubctl.commands.common import connect, follow, json_option, need_token, url_option
from hubctl.commands.recipes import RecipeCommand, checked, recipe_of
from hubctl.companions import text_of
from hubctl.errors import Refused

KEPT = "companion:"


@click.command(
    "transfer",
    cls=RecipeCommand,
    verb="transfer",
    default="trans-lora",
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.argument("name", metavar="NAME[@REF]")
@click.option("--to-base", required=True, metavar="BASE", help="The base it shall move to.")
@click.option("--to", "output", required=True, metavar="NAME", help="Where the result goes: namespace/name.")
@click.option(
    "--seeds",
    metavar="FILE",
    help="About five typical rows of prompt and completion, JSONL; else those kept with the adapter, of which "
    "companion:NAME picks one. They go to this job alone: `hubctl seeds add` keeps them.",
)
@click.option("--discriminator", metavar="VERSION", help="Which of those kept with the adapter; else the newest.")
@click.option("--index-map", metavar="FILE", help="loram: which rows and columns pruning left, JSON.")
@click.option(
    "--method", default="trans-lora", show_default=True, help="trans-lora, portllm, cross-lora, loram; see --check."
)
@click.option("--private", is_flag=True, help="Make the result private; it is anyway where the adapter is.")
@click.option("--wait/--no-wait", help="Wait for the result.")
@click.option("--check", is_flag=True, help="Only say what would come of it, and which shorter ways there are.")
@click.option("--idempotency-key", metavar="KEY", help="The same key and request give the same job again.")
@json_option
@url_option
@click.pass_context
def transfer_command(
    ctx,
    name,
    to_base,
    output,
    seeds,
    discriminator,
    index_map,
    method,
    private,
    wait,
    check,
    idempotency_key,
    as_json,
    url,
    **options,
) -> int:
    """Move the adapter NAME to another base, nearly without data.

    hubctl transfer demo/sums --to-base org/new --to demo/sums-new --seeds seeds.jsonl --filter token-score --wait
    """
    with connect(url) as hub:
        need_token(hub)
        request = {
            "inputs": [name],
            "base": to_base,
            "output": output,
            "recipe": recipe_of(ctx.meta["hubctl.method"]["fields"], options),
            "private": private,
            "files": files_of(seeds, discriminator, index_map),
        }
        if check:
            return checked(hub, method, as_json, **request)
        return follow(hub, hub.queue_job(method, **request, idempotency_key=idempotency_key), wait, as_json)


def files_of(seeds: str | None, discriminator: str | None, index_map: str | None) -> dict:
    """The job's private inputs: text of files here, or names of what is kept beside the adapter."""
    files: dict = {}
    if seeds:
        kept = seeds.removeprefix(KEPT) if seeds.startswith(KEPT) else None
        files["seeds"] = {"companion": kept} if kept else text_of(seeds)
    if discriminator:
        files["discriminator"] = {"companion": discriminator}
    if index_map:
        files["index"] = text_of(index_map)
        try:
            json.loads(files["index"])
        except ValueError as error:
            raise Refused(f"{index_map} is not JSON: {error}") from None
    return files
