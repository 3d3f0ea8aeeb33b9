"""Discriminators: trained once beside an adapter, while its real data are at hand, and kept for every transfer."""

import click

from hubctl.commands.companions import show_rows, take_away
from hubctl.local_data import lies_here, text_of
from hubctl.options.common import with_hub
from hubctl.options.job_options import job_options
from hubctl.options.recipes import RecipeCommand

KIND = "discriminator"


@click.group(KIND)
def discriminator_command() -> None:
    """Train a discriminator between an adapter's real and invented inputs; it is kept beside the adapter, privately."""


@discriminator_command.command("train", cls=RecipeCommand, verb=KIND)
@click.argument("name", metavar="NAME[@REF]")
@click.option(
    "--data",
    required=True,
    metavar="FILE|NAME",
    help="Real inputs: a local .jsonl file, of which the hub keeps nothing after the job, or a dataset of the hub.",
)
@click.option("--seeds", metavar="FILE", help="Seed examples; default: those kept with the adapter.")
@job_options(wait="Wait for the job to end.")
def train(job, name, data, seeds) -> int:
    """Train a discriminator beside the adapter NAME from real inputs."""
    job.connect()
    files = {"seeds": text_of(seeds)} if seeds else {}
    if lies_here(data):
        return job.start(inputs=[name], files=files | {"real": text_of(data)})
    return job.start(inputs=[name], datasets=[data], files=files)


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
    """Remove the discriminator of VERSION; it can be left out if there is only one."""
    take_away(hub, name, KIND, which, as_json)
