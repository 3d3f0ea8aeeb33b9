"""Making an adapter from texts, in one pass of the base over them."""

import click

from hubctl.corpus import documents_of
from hubctl.errors import Refused
from hubctl.options.job_options import job_options
from hubctl.options.recipes import RecipeCommand


@click.command("generate", cls=RecipeCommand, verb="generate")
@click.option("--base", metavar="BASE", help="The base the adapter shall be for; else the generator's.")
@click.option(
    "--context",
    "contexts",
    multiple=True,
    metavar="FILE",
    help="A text, Markdown or PDF file, or a folder of them. Repeatable: what several texts leave adds up.",
)
@click.option("--generator", metavar="NAME[@REF]", help="Which one writes it; else the base's newest you can see.")
@click.option("--onto", metavar="NAME[@REF]", help="Add the texts to a generated adapter that kept its state.")
@click.option("--without", metavar="NAME[@REF]", help="Take away what this generated adapter knows, from --onto.")
@click.option("--keep-text", is_flag=True, help="Keep the texts beside the adapter, for its members.")
@click.option("--keep-state", is_flag=True, help="Keep the state, so that texts can be added or taken away later.")
@job_options(to="required", public="Let everybody see the adapter, from which the text can be read in part.")
def generate_command(job, base, contexts, generator, onto, without, keep_text, keep_state) -> int:
    """Turn texts into an adapter that knows them, in seconds. The result is private unless --public is said.

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
