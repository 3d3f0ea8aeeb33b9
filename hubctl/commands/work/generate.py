"""Making an adapter from texts, in one pass of the base over them."""

import click

from hubctl.corpus import documents_of
from hubctl.errors import Refused
from hubctl.options.job_options import job_options
from hubctl.options.recipes import RecipeCommand


@click.command("generate", cls=RecipeCommand, verb="generate")
@click.option("--base", metavar="BASE", help="The base of the new adapter; default: the generator's.")
@click.option(
    "--context",
    "contexts",
    multiple=True,
    metavar="FILE",
    help="A text, Markdown or PDF file, or a folder of them. Repeatable: several texts add up.",
)
@click.option(
    "--generator", metavar="NAME[@REF]", help="The generator to use; default: the newest of the base that you can see."
)
@click.option("--onto", metavar="NAME[@REF]", help="Add the texts to a generated adapter that kept its state.")
@click.option("--without", metavar="NAME[@REF]", help="Remove from --onto what this generated adapter knows.")
@click.option("--keep-text", is_flag=True, help="Keep the texts beside the adapter, for its members.")
@click.option("--keep-state", is_flag=True, help="Keep the state, so that texts can be added or removed later.")
@job_options(to="required", public="Let everyone see the adapter; parts of the text can be read out of it.")
def generate_command(job, base, contexts, generator, onto, without, keep_text, keep_state) -> int:
    """Turn texts into an adapter that knows them, in seconds. The result is private unless --public is given.

    hubctl generate --base org/model --context doc.txt --context more.md --to demo/doc --wait
    """
    if not contexts and not without:
        raise Refused("give the text: --context FILE.")
    job.connect()
    return job.start(
        base=base,
        files={"context": documents_of(contexts)} if contexts else {},
        generator=generator,
        onto=onto,
        without=without,
        keep=[word for word, wanted in (("context", keep_text), ("state", keep_state)) if wanted],
    )
