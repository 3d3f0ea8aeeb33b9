"""Making an adapter from texts, in one pass of the base over them."""

import click

from hubctl.commands.common import connect, follow, json_option, need_token, url_option
from hubctl.commands.recipes import RecipeCommand, checked, recipe_of
from hubctl.corpus import documents_of
from hubctl.errors import Refused

KIND = "generate"


@click.command(KIND, cls=RecipeCommand, verb=KIND, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--base", metavar="BASE", help="The base the adapter shall be for; else the generator's.")
@click.option(
    "--context",
    "contexts",
    multiple=True,
    metavar="FILE",
    help="A text, Markdown or PDF file, or a folder of them. Repeatable: what several texts leave adds up.",
)
@click.option("--to", "output", required=True, metavar="NAME", help="Where the result goes: namespace/name.")
@click.option("--generator", metavar="NAME[@REF]", help="Which one writes it; else the base's newest you can see.")
@click.option("--onto", metavar="NAME[@REF]", help="Add the texts to a generated adapter that kept its state.")
@click.option("--without", metavar="NAME[@REF]", help="Take away what this generated adapter knows, from --onto.")
@click.option("--keep-text", is_flag=True, help="Keep the texts beside the adapter, for its members.")
@click.option("--keep-state", is_flag=True, help="Keep the state, so that texts can be added or taken away later.")
@click.option("--public", is_flag=True, help="Let everybody see the adapter, from which the text can be read in part.")
@click.option("--wait/--no-wait", help="Wait for the result.")
@click.option("--check", is_flag=True, help="Only say what would come of it.")
@click.option("--idempotency-key", metavar="KEY", help="The same key and request give the same job again.")
@json_option
@url_option
@click.pass_context
def generate_command(
    ctx,
    base,
    contexts,
    output,
    generator,
    onto,
    without,
    keep_text,
    keep_state,
    public,
    wait,
    check,
    idempotency_key,
    as_json,
    url,
    **options,
) -> int:
    """Turn texts into an adapter that knows them, in seconds. The result is private unless --public is said.

    hubctl generate --base org/model --context doc.txt --context more.md --to demo/doc --wait
    """
    if not contexts and not without:
        raise Refused("give the text: --context FILE.")
    with connect(url) as hub:
        need_token(hub)
        request = {
            "base": base,
            "output": output,
            "recipe": recipe_of(ctx.meta["hubctl.method"]["fields"], options),
            "files": {"context": documents_of(contexts)} if contexts else {},
            "generator": generator,
            "onto": onto,
            "without": without,
            "keep": [kind for kind, wanted in (("context", keep_text), ("state", keep_state)) if wanted],
            "public": public,
        }
        if check:
            return checked(hub, KIND, as_json, **request)
        return follow(hub, hub.queue_job(KIND, **request, idempotency_key=idempotency_key), wait, as_json)
