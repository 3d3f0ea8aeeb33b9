"""Generators: trained once for a base on plain text, and listed."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hubctl.corpus import texts_of, write_rows
from hubctl.errors import Refused
from hubctl.local_data import push_rows
from hubctl.options.common import with_hub
from hubctl.options.job_options import job_options
from hubctl.options.recipes import RecipeCommand
from hubctl.output import emit, size, table
from hubctl.requests import DATASETS

if TYPE_CHECKING:
    from hubctl.client import Hub

TEXT_HELP = (
    "What it learns from: a folder of .txt and .md files, a text file, a .jsonl file of rows {text} or {context, "
    "question, answer}, or a dataset of the hub. Local files are pushed beside the result as a private dataset. "
    "Repeatable."
)


@click.group("generator")
def generator_command() -> None:
    """Train a generator, which turns texts into adapters of one base."""


@generator_command.command("train", cls=RecipeCommand, verb="train-generator")
@click.option("--base", metavar="BASE", help="The base to write adapters for; default: that of --start.")
@click.option("--text", "sources", multiple=True, required=True, metavar="SOURCE", help=TEXT_HELP)
@click.option("--start", metavar="NAME[@REF]", help="A generator to begin from; --stage questions needs one.")
@job_options(
    to="required",
    private="Make the result private; it always is if a dataset is private.",
    wait="Wait for the job to end.",
    check="Only check the job, without starting it; the texts are pushed all the same.",
)
def train(job, base, sources, start) -> int:
    """Train a generator for a base.

    hubctl generator train --base org/model --text corpus/ --to demo/generator --steps 500 --wait
    """
    hub, output = job.connect(), job.result["output"]
    datasets = [dataset_of(hub, source, output, number) for number, source in enumerate(sources, 1)]
    return job.start(base=base, datasets=datasets, generator=start)


@generator_command.command("list")
@click.option("--base", metavar="BASE", help="Only those of this base.")
@with_hub
def list_(hub, base, as_json) -> None:
    """List the generators you can see."""
    rows = hub.repositories(kind="generator", base=base or "")
    if as_json:
        emit(rows, True)
        return
    cells = [[row["path"], row["latest"], row["base"], row["rank"], size(row["size"])] for row in rows]
    table(cells, ["name", "latest", "base", "rank", "size"], "no generators yet: hubctl generator train --help")


def dataset_of(hub: "Hub", source: str, output: str, number: int) -> str:
    """The hub's dataset of this source; local files become the private dataset `<output>-text`, `-text-2`, …"""
    path = Path(source)
    if not path.exists():
        if source.endswith((".jsonl", ".txt", ".md")) or source.removeprefix(DATASETS).count("/") != 1:
            raise Refused(f"there is no file or folder {source!r} here.")
        return source
    name = f"{output}-text" + (f"-{number}" if number > 1 else "")
    if path.is_file() and path.suffix == ".jsonl":
        return push_rows(hub, path, name)
    with tempfile.TemporaryDirectory() as folder:
        rows = Path(folder) / "train.jsonl"
        write_rows(texts_of(path), rows)
        return push_rows(hub, rows, name)
