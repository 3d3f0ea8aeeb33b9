"""Moving an adapter to another base model."""

import json

import click

from hubctl.errors import Refused
from hubctl.local_data import text_of, text_or_companion
from hubctl.options.job_options import job_options
from hubctl.options.recipes import RecipeCommand


@click.command("transfer", cls=RecipeCommand, verb="transfer", default="trans-lora")
@click.argument("name", metavar="NAME[@REF]")
@click.option("--to-base", required=True, metavar="BASE", help="The base to move it to.")
@click.option(
    "--seeds",
    metavar="FILE",
    help="About five typical rows of prompt and completion, JSONL; default: those kept with the adapter, of which "
    "companion:NAME picks one. They are for this job only: `hubctl seeds add` keeps them.",
)
@click.option("--discriminator", metavar="VERSION", help="The kept discriminator to use; default: the newest.")
@click.option("--index-map", metavar="FILE", help="loram: JSON that says which rows and columns pruning left.")
@click.option(
    "--method", default="trans-lora", show_default=True, help="trans-lora, portllm, cross-lora, loram; see --check."
)
@job_options(
    to="required",
    private="Make the result private; it always is if the adapter is private.",
    check="Only check the job, and show the shorter ways there are; start nothing.",
)
def transfer_command(job, name, to_base, seeds, discriminator, index_map, method) -> int:
    """Move the adapter NAME to another base, nearly without data.

    hubctl transfer demo/sums --to-base org/new --to demo/sums-new --seeds seeds.jsonl --filter token-score --wait
    """
    job.connect()
    return job.start(inputs=[name], base=to_base, files=files_of(seeds, discriminator, index_map))


def files_of(seeds: str | None, discriminator: str | None, index_map: str | None) -> dict:
    """The job's private inputs: the text of local files, or names of what is kept beside the adapter."""
    files: dict = {}
    if seeds:
        files["seeds"] = text_or_companion(seeds)
    if discriminator:
        files["discriminator"] = {"companion": discriminator}
    if index_map:
        files["index"] = text_of(index_map)
        try:
            json.loads(files["index"])
        except ValueError as error:
            raise Refused(f"{index_map} is not JSON: {error}") from None
    return files
