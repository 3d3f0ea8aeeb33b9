"""`--data`: the text that a job reads for each adapter, or for all of them, by name or as a local file."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from hubctl.errors import Refused
from hubctl.local_data import file_here, lies_here, push_rows

if TYPE_CHECKING:
    from hubctl.client import Hub
    from hubctl.options.job_options import JobOptions

HELP = (
    "{what}: ADAPTER=SOURCE, where ADAPTER is one of NAMES or the last part of one, or SOURCE alone for a mixed text. "
    "SOURCE is a dataset of the hub, or a local .jsonl file, which is pushed beside the result as a private dataset. "
    "Repeatable."
)


def data_option(what: str) -> Callable[[Any], Any]:
    """The option; `what` begins its help."""
    return click.option("--data", multiple=True, metavar="[ADAPTER=]SOURCE", help=HELP.format(what=what))


def datasets_of(job: "JobOptions", inputs: tuple[str, ...], data: tuple[str, ...]) -> list[str]:
    """The hub's datasets of these sources, local files pushed; in the adapters' order where they are given so."""
    pairs = paired(inputs, data)
    if not pairs:
        return []
    fields = {field["name"]: field for field in job.method["fields"]}
    if "split" not in fields:
        raise Refused(f"{job.method['label']} reads no data; leave --data out.")
    hub, output = job.connect(), job.result["output"]
    split = job.recipe.get("split", fields["split"]["default"])
    return [dataset_of(hub, source, output, label, split) for label, source in pairs]


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
