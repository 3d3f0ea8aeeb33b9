"""Discriminators: trained once beside an adapter, while its real data are at hand, and kept for every transfer."""

from pathlib import Path

import click

from hubctl.commands.common import connect, follow, json_option, need_token, url_option, with_hub
from hubctl.commands.companions import show_rows, take_away
from hubctl.commands.recipes import RecipeCommand, checked, recipe_of
from hubctl.companions import text_of

KIND = "discriminator"


@click.group(KIND)
def discriminator_command() -> None:
    """Train what tells an adapter's real inputs from invented ones; it is kept beside the adapter, privately."""


@discriminator_command.command("train", cls=RecipeCommand, verb=KIND)
@click.argument("name", metavar="NAME[@REF]")
@click.option(
    "--data",
    required=True,
    metavar="FILE|NAME",
    help="Real inputs: a .jsonl file here, of which the hub keeps nothing once it is done, or a dataset of the hub.",
)
@click.option("--seeds", metavar="FILE", help="Seed examples; else those kept with the adapter.")
@click.option("--wait/--no-wait", help="Wait for its end.")
@click.option("--check", is_flag=True, help="Only say what would come of it.")
@click.option("--idempotency-key", metavar="KEY", help="The same key and request give the same job again.")
@json_option
@url_option
@click.pass_context
def train(ctx, name, data, seeds, wait, check, idempotency_key, as_json, url, **options) -> int:
    """Train a discriminator beside the adapter NAME from real inputs."""
    with connect(url) as hub:
        need_token(hub)
        recipe = recipe_of(ctx.meta["hubctl.method"]["fields"], options)
        files = {"seeds": text_of(seeds)} if seeds else {}
        local = data.endswith(".jsonl") or Path(data).is_file()
        request = {"inputs": [name], "recipe": recipe, "datasets": [] if local else [data]}
        request["files"] = files | ({"real": text_of(data)} if local else {})
        if check:
            return checked(hub, KIND, as_json, **request)
        return follow(hub, hub.queue_job(KIND, **request, idempotency_key=idempotency_key), wait, as_json)


@discriminator_command.command("list")
@click.argument("name")
@with_hub
def list_(hub, name, as_json) -> None:
    """List the discriminators kept beside NAME, with the share of held-out real inputs each recognises."""
    show_rows(hub, name, KIND, as_json)


@discriminator_command.command("remove")
@click.argument("name")
@click.argument("which", required=False, metavar="[VERSION]")
@with_hub
def remove(hub, name, which, as_json) -> None:
    """Take the discriminator of VERSION, or the only one, away."""
    take_away(hub, name, KIND, which, as_json)
