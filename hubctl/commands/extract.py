"""`hubctl extract`: a LoRA out of a fine-tuned model and its base, on this machine."""

import importlib.util
from pathlib import Path

import click

from hubctl.errors import Refused
from hubctl.export import refusals
from hubctl.options.common import json_option
from hubctl.output import emit, size, transfer_bars

FOLDER = click.Path(path_type=Path, exists=True, file_okay=False)


@click.command("extract")
@click.argument("base", type=FOLDER)
@click.argument("tuned", type=FOLDER)
@click.option("--rank", type=click.IntRange(1, 4096), default=16, show_default=True, help="Of every module.")
@click.option(
    "--energy",
    type=click.FloatRange(0, 1, min_open=True),
    metavar="SHARE",
    help="Least rank, up to --rank, that keeps this share of a module's squared change (0.9).",
)
@click.option("--modules", metavar="NAMES", help="Only these, by names or their endings: q_proj,v_proj.")
@click.option("--dtype", type=click.Choice(["f32", "bf16", "f16"]), default="f32", show_default=True)
@click.option("--base-name", default="", metavar="ID", help="The base's id that the config names: org/model.")
@click.option("--to", "out", type=click.Path(path_type=Path), metavar="FOLDER", help="Default: TUNED-lora, here.")
@json_option
def extract_command(base, tuned, rank, energy, modules, dtype, base_name, out, as_json) -> None:
    """Write a LoRA of what the model in folder TUNED has learned over the one in BASE.

    Both are folders as Hugging Face ships them: config.json and safetensors. They are read block by block, so memory
    stays far below one model. The error that is left of each module is measured and shown. Needs torch: pip install
    torch. Push the result as any adapter: hubctl push FOLDER demo/name.
    """
    if importlib.util.find_spec("torch") is None:
        raise Refused("an extraction needs torch, which is not installed: pip install torch")
    from hubctl.merged_model.extract import extract_lora

    target = out or Path(f"{tuned.resolve().name}-lora")
    names = [name.strip() for name in (modules or "").split(",") if name.strip()]
    with refusals(), transfer_bars(quiet=as_json) as moved:
        result = extract_lora(
            base,
            tuned,
            target,
            rank=rank,
            energy=energy,
            modules=names,
            dtype=dtype.upper(),
            base_name=base_name,
            moved=moved,
        )
    for note in result["notes"]:
        click.echo(f"hubctl: {note}", err=True)
    emit(result, as_json, _said(result))


def _said(result: dict) -> str:
    rows = result["modules"]
    worst = max(rows, key=lambda module: rows[module]["error"])
    return (
        f"{len(rows)} modules, rank {result['rank']} at most, {size(result['bytes'])}, in {result['folder']}\n"
        f"left out of the change: {result['error']:.1%} of its norm; most in {worst}, {rows[worst]['error']:.1%}"
    )
