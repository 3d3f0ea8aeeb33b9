"""Fetching a version."""

import click

from hubctl.commands.common import with_hub
from hubctl.output import emit, size, transfer_bars


@click.command("pull")
@click.argument("name")
@click.option("-o", "--out", required=True, metavar="FOLDER", help="Where the files go; made where it is missing.")
@with_hub
def pull_command(hub, name, out, as_json) -> None:
    """Fetch NAME (namespace/name[@ref]; ref is v3, a tag, a branch or a revision; else the latest version).

    Every file is checked by its SHA-256. What was cut goes on where it stopped.
    """
    with transfer_bars(quiet=as_json) as moved:
        result = hub.pull(name, out, moved=moved)
    total = sum(row["size"] for row in result["files"])
    label = result.get("version") or result["revision"][:10]
    text = f"{name.partition('@')[0]}@{label}: {len(result['files'])} files, {size(total)}, in {out}"
    emit(result, as_json, text)
