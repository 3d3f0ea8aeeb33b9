"""Exporting: an adapter in a form that needs no adapter any more."""

from pathlib import Path

import click

from hubctl.options.common import with_hub
from hubctl.output import emit, size, transfer_bars


@click.group("export")
def export_command() -> None:
    """Write an adapter in another form."""


@export_command.command("merged")
@click.argument("name")
@click.option(
    "--base-folder",
    required=True,
    type=click.Path(file_okay=True, path_type=Path),
    metavar="FOLDER",
    help="The base model: config.json and its safetensors files.",
)
@click.option("--to", "out", type=click.Path(path_type=Path), metavar="FOLDER", help="Default: NAME-merged, here.")
@with_hub
def merged(hub, name, base_folder, out, as_json) -> None:
    """Write base + NAME as one model folder, which loads without peft.

    NAME is namespace/name[@ref], or an adapter's folder given as ./folder. The weights are those of peft's
    merge_and_unload, bit by bit, written shard by shard: memory holds one tensor and its change at a time. An export
    that was cut is taken up again where it stopped, and its folder has its name only when it is whole.

    Needs torch: pip install "adapter-hub[export]".
    """
    with transfer_bars(quiet=as_json) as moved:
        result = hub.export_merged(name, base_folder, out, moved=moved)
    for note in result["notes"]:
        click.echo(f"hubctl: {note}", err=True)
    what = result["adapter"]
    emit(
        result,
        as_json,
        f"{what} added to {base_folder}: {result['changed']} tensors changed, {size(result['bytes'])}, "
        f"in {result['folder']}",
    )
