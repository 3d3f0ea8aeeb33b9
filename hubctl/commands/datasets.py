"""Datasets: JSONL files of prompt and completion, of text, or of context, question and answer."""

from pathlib import Path

import click

from hubctl.commands.push import push_and_show
from hubctl.errors import Refused
from hubctl.options.common import with_hub


@click.group("dataset")
def dataset_command() -> None:
    """Push data to evaluate or to train on."""


@dataset_command.command("push")
@click.argument("sources", nargs=-1, required=True, metavar="FOLDER|FILES...")
@click.argument("name")
@click.option("--message", "-m", default="", help="What changed.")
@click.option("--private", is_flag=True, help="Make the repository private, if this push makes it.")
@click.option("--tag", "tags", multiple=True, help="Point this tag at the new version. Repeatable.")
@with_hub
def push(hub, sources, name, message, private, tags, as_json) -> None:
    """Push a FOLDER, or FILES (train.jsonl, test.jsonl, README.md), as the dataset NAME.

    Each row of a .jsonl file is an object with prompt, completion and, for multiple choice, choices; or with
    text; or with context, question and answer. All rows of a file have the same fields.
    """
    source: str | dict[str, Path] = sources[0]
    if len(sources) > 1:
        source = {Path(path).name: Path(path) for path in sources}
        missing = [str(path) for path in source.values() if not path.is_file()]
        if missing:
            raise Refused(f"no such file here: {', '.join(missing)}")
        if len(source) < len(sources):
            raise Refused("two of the files have the same name; push a folder instead.")
    push_and_show(hub, source, name, as_json, tags, message=message, private=private, kind="dataset")
