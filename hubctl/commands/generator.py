"""Generators: trained once for a base on plain text, and listed."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hubctl.commands.common import connect, follow, json_option, need_token, url_option, with_hub
from hubctl.commands.recipes import RecipeCommand, checked, recipe_of
from hubctl.corpus import texts_of, write_rows
from hubctl.errors import Refused
from hubctl.output import size, table

if TYPE_CHECKING:
    from hubctl.client import Hub

KIND = "train-generator"
TEXT_HELP = (
    "What it learns from: a folder of .txt and .md files, a text file, a .jsonl file of rows {text} or {context, "
    "question, answer}, or a dataset of the hub. What lies here is pushed beside the result as a private dataset. "
    "Repeatable."
)


@click.group("generator")
def generator_command() -> None:
    """Train what turns texts into adapters of one base."""


@generator_command.command("train", cls=RecipeCommand, verb=KIND)
@click.option("--base", metavar="BASE", help="The base it shall write adapters for; else that of --start.")
@click.option("--text", "sources", multiple=True, required=True, metavar="SOURCE", help=TEXT_HELP)
@click.option("--to", "output", required=True, metavar="NAME", help="Where the result goes: namespace/name.")
@click.option("--start", metavar="NAME[@REF]", help="A generator to begin from; --stage questions needs one.")
@click.option("--private", is_flag=True, help="Make the result private; it is anyway where a dataset is.")
@click.option("--wait/--no-wait", help="Wait for its end.")
@click.option("--check", is_flag=True, help="Only say what would come of it; the texts are pushed all the same.")
@click.option("--idempotency-key", metavar="KEY", help="The same key and request give the same job again.")
@json_option
@url_option
@click.pass_context
def train(ctx, base, sources, output, start, private, wait, check, idempotency_key, as_json, url, **options) -> int:
    """Train a generator for a base.

    hubctl generator train --base org/model --text corpus/ --to demo/generator --steps 500 --wait
    """
    with connect(url) as hub:
        need_token(hub)
        request = {
            "base": base,
            "datasets": [_dataset(hub, source, output, number) for number, source in enumerate(sources, 1)],
            "output": output,
            "recipe": recipe_of(ctx.meta["hubctl.method"]["fields"], options),
            "generator": start,
            "private": private,
        }
        if check:
            return checked(hub, KIND, as_json, **request)
        return follow(hub, hub.queue_job(KIND, **request, idempotency_key=idempotency_key), wait, as_json)


@generator_command.command("list")
@click.option("--base", metavar="BASE", help="Those of one base.")
@with_hub
def list_(hub, base, as_json) -> None:
    """List the generators you can see."""
    rows = hub.repositories(kind="generator", base=base or "")
    if as_json:
        import json

        print(json.dumps(rows, indent=2))
        return
    cells = [[row["full_name"], row["latest"], row["base"], row["rank"], size(row["size"])] for row in rows]
    table(cells, ["name", "latest", "base", "rank", "size"], "no generators yet: hubctl generator train --help")


def _dataset(hub: "Hub", source: str, output: str, number: int) -> str:
    """The hub's dataset of this source; what lies here becomes the private dataset `<output>-text`, `-text-2`, …"""
    path = Path(source)
    if not path.exists():
        if source.endswith((".jsonl", ".txt", ".md")) or source.count("/") != 1:
            raise Refused(f"there is no file or folder {source!r} here.")
        return source
    name = f"{output}-text" + (f"-{number}" if number > 1 else "")
    if path.is_file() and path.suffix == ".jsonl":
        return _pushed(hub, path, name)
    with tempfile.TemporaryDirectory() as folder:
        rows = Path(folder) / "train.jsonl"
        write_rows(texts_of(path), rows)
        return _pushed(hub, rows, name)


def _pushed(hub: "Hub", rows: Path, name: str) -> str:
    pushed: dict[str, Any] = hub.push({"train.jsonl": rows}, name, kind="dataset", private=True)
    return f"{name}@{pushed['version']}" if pushed["version"] else name
