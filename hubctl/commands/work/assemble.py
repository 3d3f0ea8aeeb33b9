"""Assembling mixtures: one subcommand a method of the hub, with a small dataset for each adapter, or one mixed text."""

from typing import TYPE_CHECKING

import click

from hubctl.errors import Refused
from hubctl.local_data import file_here, lies_here, push_rows
from hubctl.options.common import url_option
from hubctl.options.job_options import AN_INPUT, job_options
from hubctl.options.method_group import MethodGroup

if TYPE_CHECKING:
    from hubctl.client import Hub

DATA_HELP = (
    "Text to train the router on: ADAPTER=SOURCE, where ADAPTER is one of NAMES or the last part of one, or SOURCE "
    "alone for a mixed text. SOURCE is a dataset of the hub, or a local .jsonl file, which is pushed beside the result "
    "as a private dataset. Repeatable."
)


@click.command("METHOD")
@click.argument("inputs", nargs=-1, required=True, metavar="NAME[@REF]...")
@click.option("--data", multiple=True, metavar="[ADAPTER=]SOURCE", help=DATA_HELP)
@job_options(to="required", private=AN_INPUT)
def assemble(job, inputs, data) -> int:
    """Assemble with one method."""
    hub, output, split = job.connect(), job.result["output"], job.recipe.get("split", "train")
    datasets = [dataset_of(hub, source, output, label, split) for label, source in paired(inputs, data)]
    return job.start(inputs=inputs, datasets=datasets)


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
        wrong = "is not one" if not found else "names several"
        raise Refused(f"--data {label}=…: {label!r} {wrong} of the adapters {', '.join(inputs)}.")
    return found[0]


def dataset_of(hub: "Hub", source: str, output: str, label: str, split: str) -> str:
    """The hub's dataset of this source; a local file becomes the private dataset `<output>-<label>-data`."""
    if not lies_here(source):
        return source
    short = label.partition("@")[0].rpartition("/")[2]
    return push_rows(hub, file_here(source), f"{output}-{short}-data", split)


@click.group("assemble", cls=MethodGroup, verb="assemble", each=assemble)
@url_option
def assemble_command(url) -> None:
    """Assemble adapters of one base into a mixture that routes every token.

    hubctl assemble meteora demo/a demo/b --data a=a.jsonl --data b=b.jsonl --to demo/mix --top-k 2 --wait

    Where the first one is a mixture, the others join it: give data for those alone.

    hubctl assemble meteora demo/mix demo/c --data c=c.jsonl --to demo/mix --wait
    """
