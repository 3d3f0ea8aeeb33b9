"""Assembling mixtures: one subcommand a method of the hub, with a small dataset for each adapter, or one mixed text."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hubctl.commands.common import connect, follow, json_option, need_token, url_option
from hubctl.commands.method_group import MethodGroup, help_of
from hubctl.commands.recipes import checked, options_of, recipe_of
from hubctl.errors import Refused

if TYPE_CHECKING:
    from hubctl.client import Hub

DATA_HELP = (
    "Text to learn the router from: ADAPTER=SOURCE, the adapter as it stands among NAMES or its last part, or SOURCE "
    "alone for a mixed text. SOURCE is a dataset of the hub, or a .jsonl file here, which is pushed beside the result "
    "as a private dataset. Repeatable."
)


def assemble_with(method: dict[str, Any]) -> click.Command:
    """The command of one method."""
    fields = method["fields"]

    @click.argument("inputs", nargs=-1, required=True, metavar="NAME[@REF]...")
    @click.option("--data", multiple=True, metavar="[ADAPTER=]SOURCE", help=DATA_HELP)
    @click.option("--to", "output", required=True, metavar="NAME", help="Where the result goes: namespace/name.")
    @click.option("--private", is_flag=True, help="Make the result private; it is anyway where an input is.")
    @click.option("--wait/--no-wait", help="Wait for the result.")
    @click.option("--check", is_flag=True, help="Only say what would come of it.")
    @click.option("--idempotency-key", metavar="KEY", help="The same key and request give the same job again.")
    @json_option
    @url_option
    @click.pass_context
    def assemble(ctx, inputs, data, output, private, wait, check, idempotency_key, as_json, url, **options) -> int:
        with connect(url or ctx.meta.get("hubctl.url")) as hub:
            need_token(hub)
            recipe = recipe_of(fields, options)
            sources = paired(inputs, data)
            datasets = [dataset_of(hub, source, output, label, recipe) for label, source in sources]
            request = {
                "inputs": inputs,
                "datasets": datasets,
                "output": output,
                "recipe": recipe,
                "private": private,
            }
            if check:
                return checked(hub, method["kind"], as_json, **request)
            job = hub.queue_job(method["kind"], **request, idempotency_key=idempotency_key)
            return follow(hub, job, wait, as_json)

    command = click.command(method["kind"], help=help_of(method))(assemble)
    command.params += options_of(fields)
    return command


def paired(inputs: tuple[str, ...], data: tuple[str, ...]) -> list[tuple[str, str]]:
    """[(label, source)]: in the adapters' order where sources are given by adapter, else as given."""
    given: dict[str, str] = {}
    for number, text in enumerate(data, 1):
        label, equals, source = text.partition("=")
        if not equals:
            label, source = f"text-{number}" if len(data) > 1 else "text", text
        else:
            label = _adapter_of(label, inputs)
        if label in given:
            raise Refused(f"--data is given twice for {label}; put its rows into one dataset.")
        given[label] = source
    by_adapter = [name for name in inputs if name in given]
    if by_adapter and len(by_adapter) < len(given):
        raise Refused("give --data either as ADAPTER=SOURCE for every adapter, or as SOURCE alone; not both.")
    # The first one may be a mixture that others join: the hub then takes over the data it learnt from.
    if by_adapter and not set(inputs[1:]) <= set(by_adapter):
        missing = ", ".join(name for name in inputs if name not in given)
        raise Refused(f"no --data for {missing}; give one ADAPTER=SOURCE for each adapter.")
    return [(name, given[name]) for name in (by_adapter or given)]


def _adapter_of(label: str, inputs: tuple[str, ...]) -> str:
    short = {name: name.partition("@")[0].rpartition("/")[2] for name in inputs}
    found = [name for name in inputs if label in (name, name.partition("@")[0], short[name])]
    if len(found) != 1:
        wrong = "is none" if not found else "names several"
        raise Refused(f"--data {label}=…: {label!r} {wrong} of the adapters {', '.join(inputs)}.")
    return found[0]


def dataset_of(hub: "Hub", source: str, output: str, label: str, recipe: dict[str, Any]) -> str:
    """The hub's dataset of this source; a local file becomes the private dataset `<output>-<label>-data`."""
    path = Path(source)
    if not (source.endswith(".jsonl") or path.is_file()):
        return source
    if not path.is_file():
        raise Refused(f"no such file here: {source}")
    short = label.partition("@")[0].rpartition("/")[2]
    name = f"{output}-{short}-data"
    pushed = hub.push({f"{recipe.get('split', 'train')}.jsonl": path}, name, kind="dataset", private=True)
    return f"{name}@{pushed['version']}" if pushed["version"] else name


class AssembleMethods(MethodGroup):
    """The assembling methods of this hub."""

    verb = "assemble"
    build = staticmethod(assemble_with)


@click.group("assemble", cls=AssembleMethods, context_settings={"help_option_names": ["-h", "--help"]})
@url_option
def assemble_command(url) -> None:
    """Assemble adapters of one base into a mixture that routes every token.

    hubctl assemble meteora demo/a demo/b --data a=a.jsonl --data b=b.jsonl --to demo/mix --top-k 2 --wait

    Where the first one is a mixture, the others join it: give data for those alone.

    hubctl assemble meteora demo/mix demo/c --data c=c.jsonl --to demo/mix --wait
    """
