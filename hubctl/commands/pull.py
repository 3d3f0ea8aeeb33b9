"""Fetching a version."""

import click

from hubctl.options.common import with_hub
from hubctl.output import emit, size, transfer_bars


@click.command("pull")
@click.argument("name")
@click.option("-o", "--out", required=True, metavar="FOLDER", help="Where the files go; made if it is missing.")
@click.option("--expert", metavar="EXPERT", help="Of a mixture: this expert alone, a plain LoRA.")
@click.option(
    "--as",
    "form",
    type=click.Choice(["cat", "gguf"]),
    help="cat: of a mixture, all experts summed into one plain LoRA. gguf: one file for llama.cpp.",
)
@click.option(
    "--uniform/--compact",
    default=None,
    help="The form that every server reads right: one rank, one scale, all layers; the same update. "
    "--compact: of --as cat, without it.",
)
@with_hub
def pull_command(hub, name, out, expert, form, uniform, as_json) -> None:
    """Fetch NAME (namespace/name[@ref]; ref is v3, a tag, a branch or a revision; default: the latest version).

    Of a mixture, --expert and --as fetch what plain PEFT and servers can load. `hubctl info NAME` says which servers
    read a version right as it is; --uniform is for the others, and --as gguf writes what `llama-server --lora` loads.

    Every file is checked by its SHA-256. A download that was cut resumes where it stopped.
    """
    with transfer_bars(quiet=as_json) as moved:
        result = hub.pull(name, out, expert=expert, form=form, uniform=uniform, moved=moved)
    total = sum(row["size"] for row in result["files"])
    label = result.get("version") or result["revision"][:10]
    what = f"{expert} of " if expert else f"{form} of " if form else ""
    what = f"uniform {what or 'form of '}" if uniform else what
    text = f"{what}{name.partition('@')[0]}@{label}: {len(result['files'])} files, {size(total)}, in {out}"
    if result.get("warning"):
        click.echo(f"hubctl: {result['warning']}", err=True)
    emit(result, as_json, text)
