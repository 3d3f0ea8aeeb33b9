"""Fetching a version, as it is or together with its base."""

from pathlib import Path

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
    type=click.Choice(["cat", "gguf", "kohya"]),
    help="cat: of a mixture, all experts summed into one plain LoRA. gguf: one file for llama.cpp. "
    "kohya: of an image model, one file under the names of sd-scripts.",
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


@click.group("export")
def export_command() -> None:
    """Write an adapter in another form."""


FOLDER = click.Path(path_type=Path)
base_option = click.option(
    "--base-folder",
    required=True,
    type=FOLDER,
    metavar="FOLDER",
    help="The base model: config.json and its safetensors files.",
)


@export_command.command("merged")
@click.argument("name")
@base_option
@click.option("--to", "out", type=FOLDER, metavar="FOLDER", help="Default: NAME-merged (with gguf: .gguf), here.")
@click.option(
    "--as",
    "form",
    type=click.Choice(["gguf"]),
    help="gguf: one file for llama.cpp. --base-folder is the base as a GGUF file, or a folder with one.",
)
@click.option(
    "--dtype",
    type=click.Choice(["f16", "f32"]),
    help="With --as gguf: of changed tensors. Default: the base's; float16 where it is quantised.",
)
@with_hub
def merged(hub, name, base_folder, out, form, dtype, as_json) -> None:
    """Write base + NAME as one model folder, which loads without peft, or as one GGUF file.

    NAME is namespace/name[@ref], or an adapter's folder given as ./folder. The weights are those of peft's
    merge_and_unload, bit by bit, written shard by shard: memory holds one tensor and its change at a time. An export
    that was cut is taken up again where it stopped, and its folder has its name only when it is whole.

    With --as gguf the adapter is added to a base that is a GGUF file. Its metadata and the tensors that don't change
    are copied as they are; quantised ones that change are written as float16.

    Needs torch, and gguf for --as gguf: pip install torch gguf.
    """
    with transfer_bars(quiet=as_json) as moved:
        result = hub.export_merged(name, base_folder, out, form=form, dtype=dtype, moved=moved)
    for note in result["notes"]:
        click.echo(f"hubctl: {note}", err=True)
    what = result["adapter"]
    emit(
        result,
        as_json,
        f"{what} added to {base_folder}: {result['changed']} tensors changed, {size(result['bytes'])}, "
        f"in {result.get('folder') or result['file']}",
    )


@export_command.command("check")
@click.argument("name")
@base_option
@click.option("--merged", required=True, type=FOLDER, metavar="FOLDER", help="The folder that some tool merged.")
@with_hub
def check(hub, name, base_folder, merged, as_json) -> int:
    """Say whether a merged folder holds NAME, tensor by tensor; exit code 1 if it doesn't.

    Needs torch: pip install torch.
    """
    with transfer_bars(quiet=as_json) as moved:
        result = hub.check_merged(name, base_folder, merged, moved=moved)
    counts = ("same", "rounded", "base", "other", "missing", "untouched")
    words = ("the same bits", "rounded otherwise", "the base's", "something else", "missing", "changed for no reason")
    said = [f"{result[count]} {word}" for count, word in zip(counts, words, strict=True) if result[count]]
    lines = [f"{result['adapter']} in {merged}: {result['answer']} ({', '.join(said) or 'no tensor changes'})"]
    for row in result["tensors"]:
        factor = f", about {row['factor']:g} times the update" if row["is"] == "other" and row["factor"] else ""
        lines.append(f"  {row['tensor']}: {words[counts.index(row['is'])]}{factor}")
    emit(result, as_json, "\n".join(lines))
    return 0 if result["answer"] == "merged" else 1
