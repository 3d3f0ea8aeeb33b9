"""Seed examples, and everything else that is kept beside a repository under its own visibility."""

import json
import sys
from pathlib import Path

import click

from hubctl.errors import Refused
from hubctl.local_data import file_here
from hubctl.options.common import need_token, with_hub
from hubctl.output import emit, size, table

SEEDS = "seeds"


@click.group("seeds")
def seeds_command() -> None:
    """Keep seed examples with an adapter: about five typical rows that hold nothing private.

    They are private: members of the adapter's namespace see them, and a download of the adapter never holds them.
    """


@seeds_command.command("add")
@click.argument("name")
@click.argument("file", type=click.Path(dir_okay=False))
@click.option("--as", "as_name", metavar="SEEDS", help="The name to keep them under; default: the file's.")
@click.option("--public", is_flag=True, help="Let everyone who sees the adapter see them; needs the role admin.")
@with_hub
def add(hub, name, file, as_name, public, as_json) -> None:
    """Keep FILE, JSONL rows of prompt and (better) completion, beside the adapter NAME."""
    need_token(hub)
    path = file_here(file)
    kept = hub.companions(name).add(SEEDS, as_name or path.name, path.read_bytes(), public=public)
    emit(kept, as_json, f"{kept['facts']['rows']} seeds kept beside {name} as {kept['name']}, {kept['visibility']}")


@seeds_command.command("list")
@click.argument("name")
@with_hub
def list_seeds(hub, name, as_json) -> None:
    """List the seeds kept beside NAME."""
    show_rows(hub, name, SEEDS, as_json)


@seeds_command.command("show")
@click.argument("name")
@click.argument("seeds", required=False)
@with_hub
def show(hub, name, seeds, as_json) -> None:
    """Print the rows of SEEDS; it can be left out if only one set is kept."""
    found = hub.companions(name)
    data = found.read(SEEDS, found.only(SEEDS, seeds)).decode()
    if as_json:
        return emit([json.loads(line) for line in data.splitlines() if line.strip()], True)
    sys.stdout.write(data)
    return None


@seeds_command.command("remove")
@click.argument("name")
@click.argument("seeds", required=False)
@with_hub
def remove_seeds(hub, name, seeds, as_json) -> None:
    """Remove SEEDS from NAME; it can be left out if only one set is kept."""
    take_away(hub, name, SEEDS, seeds, as_json)


@click.group("companions")
def companions_command() -> None:
    """List, fetch and remove what is kept beside a repository: seeds, discriminators, invented data."""


@companions_command.command("list")
@click.argument("name")
@with_hub
def list_(hub, name, as_json) -> None:
    """List what is kept beside NAME, as far as you may see it."""
    show_rows(hub, name, "", as_json)


@companions_command.command("get")
@click.argument("name")
@click.argument("companion", metavar="KIND/FILE")
@click.option("--out", "-o", type=click.Path(dir_okay=False), help="Write it there instead of printing it.")
@with_hub
def get(hub, name, companion, out, as_json) -> None:
    """Fetch one, such as synthetic/v1.jsonl, the rows a transfer invented."""
    kind, file = parts(companion)
    data = hub.companions(name).read(kind, file)
    if out:
        Path(out).write_bytes(data)
        return emit({"path": out, "size": len(data)}, as_json, f"{out}: {size(len(data))}")
    sys.stdout.buffer.write(data)
    return None


@companions_command.command("show")
@click.argument("name")
@click.argument("companion", metavar="KIND/FILE")
@click.argument("visibility", type=click.Choice(["public", "private"]))
@with_hub
def visible(hub, name, companion, visibility, as_json) -> None:
    """Set who may see one: everyone who sees NAME, or members only."""
    kind, file = parts(companion)
    shown = hub.companions(name).show(kind, file, visibility)
    emit(shown, as_json, f"{companion} of {name} is {visibility}")


@companions_command.command("remove")
@click.argument("name")
@click.argument("companion", metavar="KIND/FILE")
@with_hub
def remove(hub, name, companion, as_json) -> None:
    """Remove one."""
    kind, file = parts(companion)
    take_away(hub, name, kind, file, as_json)


def show_rows(hub, name: str, kind: str, as_json: bool) -> None:
    """The table of what is kept."""
    found = hub.companions(name).list(kind)
    if as_json:
        return emit(found, True)
    rows = [
        [f"{row['kind']}/{row['name']}", row["visibility"], size(row["size"]), facts(row["facts"])] for row in found
    ]
    return table(rows, ["companion", "visible", "size", ""], f"Nothing is kept beside {name} that you may see.")


def facts(known: dict) -> str:
    """A companion's facts, in a few words."""
    names = ("rows", "recall", "specificity", "task", "base")
    said = [(name, known[name]) for name in names if known.get(name) not in (None, "")]
    return ", ".join(f"{name} {value:.2f}" if isinstance(value, float) else f"{name} {value}" for name, value in said)


def take_away(hub, name: str, kind: str, which: str | None, as_json: bool) -> None:
    """Remove one companion and say so."""
    need_token(hub)
    found = hub.companions(name)
    which = found.only(kind, which)
    found.remove(kind, which)
    emit({"removed": f"{kind}/{which}"}, as_json, f"{kind}/{which} removed from {name}")


def parts(companion: str) -> tuple[str, str]:
    """(kind, name) of `kind/name`."""
    kind, slash, name = companion.partition("/")
    if not slash or not name:
        raise Refused(f"{companion!r} is not a companion; write kind/name, as `hubctl companions list` shows it.")
    return kind, name
