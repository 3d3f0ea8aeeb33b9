"""Jobs from files: a recipe of the hub or of mergekit, with values changed by hand."""

import json
import sys
from pathlib import Path
from typing import Any

import click

from hubctl.errors import Refused
from hubctl.options.common import connect, follow, need_token
from hubctl.options.job_options import checked

LARGEST = 64_000


def run_file(
    path: str,
    changes: tuple[str, ...],
    *,
    output: str | None,
    private: bool,
    wait: bool,
    check: bool,
    idempotency_key: str | None,
    as_json: bool,
    url: str | None,
) -> int:
    """Check or start the job that the file says; the exit code."""
    changed, text = dict(map(change_of, changes)), text_of(path)
    with connect(url) as hub:
        need_token(hub)
        body = hub.read_recipe(text)
        for note in body.pop("notes", []):
            click.echo(f"note: {note}", err=True)
        kind = body.pop("kind")
        recipe = {**body.pop("recipe", {}), **changed}
        visibility = body.pop("visibility", None)
        body |= {"recipe": recipe, "output": output or body.get("output")}
        body |= {"private": private or visibility == "private", "public": visibility == "public" and not private}
        if check:
            return checked(hub, kind, as_json, **body)
        return follow(hub, hub.queue_job(kind, **body, idempotency_key=idempotency_key), wait, as_json)


def text_of(path: str) -> str:
    """The file, or standard input for -."""
    try:
        data = sys.stdin.buffer.read(LARGEST + 1) if path == "-" else Path(path).read_bytes()[: LARGEST + 1]
        text = data.decode("utf-8")
    except OSError as error:
        raise Refused(f"{path} can't be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise Refused(f"{path} is not UTF-8 text; a recipe is YAML.") from None
    if len(data) > LARGEST:
        raise Refused(f"{path} is over {LARGEST:,} bytes, which no recipe is.")
    return text


def change_of(said: str) -> tuple[str, Any]:
    """(field, value) of NAME=VALUE; a value is JSON where it can be, else text."""
    name, equals, value = said.partition("=")
    if not equals or not name.strip():
        raise click.UsageError(f"--set {said}: write NAME=VALUE.")
    try:
        return name.strip(), json.loads(value)
    except ValueError:
        return name.strip(), value
