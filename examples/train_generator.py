r"""Train a generator for SmolLM2-135M-Instruct on text that `make setup` brings along; stop and go on at any time.

    python examples/train_generator.py --minutes 60      # trains on from the last checkpoint, then saves what it has
    python examples/train_generator.py --start build/generator/smollm2 --set seed=1 --set steps=2000 --set warmup=100 \
        --work build/generator/more                      # begins anew from a generator
    python examples/train_generator.py --wide --processes 2 --start build/generator/smollm2 --set distillation=1.0 \
        --work build/generator/wide                      # learns from 193 more packages, by two processes
    python examples/train_generator.py --set start='"random"' --set shift=0 --work build/generator/random

`--set` takes any field of TrainGeneratorRecipe as JSON. The run is kept in --work (80 MB) and the generator written to
--out when it ends, is stopped by --minutes, or by Ctrl-C. One thread; a step takes three to four CPU seconds.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch
from base import BASE_ID, ROOT, add_base_option, ready
from generator_data import write, write_wide

from composition.generative import load_generator, save_generator, train_generator
from composition.generative.replicated import train_replicated
from composition.generative.segments import Documents
from composition.generative.train import kept_generator
from composition.recipes import TrainGeneratorRecipe
from composition.running.base_models import load_base

BUILD = ROOT / "build" / "generator"
# The first training of examples/generator, 50 CPU minutes; docs/generation.md tells of those after it.
SETTINGS: dict[str, Any] = {
    "start": "aligned",
    "shift": 1,
    "norm": "polar",
    "inner": 144,
    "r": 144,
    "first_layer": 12,
    "windows": [64, 128, 64, 256],
    "segments": 6,
    "batch_tokens": 512,
    "steps": 850,
    "learning_rate": 2e-3,
    "precision": "bfloat16",
    "measure_every": 50,
    "holdout": 16,
}


class OutOfTime(Exception):
    """The minutes given are over."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_base_option(parser)
    parser.add_argument("--data", type=Path, default=BUILD / "data", help="where the text is collected")
    parser.add_argument("--work", type=Path, default=BUILD / "work", help="the run's state")
    parser.add_argument("--out", type=Path, default=BUILD / "smollm2", help="the generator's folder")
    parser.add_argument("--start", type=Path, help="folder of a generator to go on from, instead of first values")
    parser.add_argument("--minutes", type=float, help="stop after so long, keeping the run")
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=JSON", help="a field of the recipe")
    parser.add_argument("--wide", action="store_true", help="learn from the wheels of generator_packages.txt too")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--processes", type=int, default=1, help="that share every step, each with that many threads")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads * arguments.processes)

    changed = {name: json.loads(value) for name, _, value in (item.partition("=") for item in arguments.set)}
    recipe = TrainGeneratorRecipe(**{**SETTINGS, **changed})
    documents = Documents(paths(arguments.data, wide=arguments.wide))
    folder = ready(arguments.base)
    base, tokenizer = load_base(folder)
    start = load_generator(arguments.start) if arguments.start else None
    began = time.monotonic()

    def tell(fraction: float, message: str = "", **figures: Any) -> None:
        minutes = (time.monotonic() - began) / 60
        shown = " ".join(f"{name} {value:,.4g}" for name, value in figures.items())
        print(f"{message}  {shown}  {minutes:.1f} min, {time.process_time():.0f} CPU s", flush=True)
        if arguments.minutes and minutes > arguments.minutes:
            raise OutOfTime

    try:
        if arguments.processes > 1:
            generator = train_replicated(
                folder,
                recipe,
                documents,
                processes=arguments.processes,
                base_model=BASE_ID,
                work=arguments.work,
                start=arguments.start,
                progress=tell,
            )
        else:
            generator = train_generator(
                base, tokenizer, recipe, documents, base_model=BASE_ID, work=arguments.work, start=start, progress=tell
            )
    except (OutOfTime, KeyboardInterrupt):
        generator = kept_generator(arguments.work, base, recipe, BASE_ID, start)
    save_generator(generator, arguments.out)
    print(f"saved {arguments.out} after {generator.config.training['steps']:,} steps", flush=True)


def paths(folder: Path, *, wide: bool) -> list[Path]:
    """Files of what to learn from, made where they are missing."""
    if wide:
        return write_wide(folder, BUILD / "wheels")
    files = write(folder)
    return [files["docstrings-train"], files["code-train"]]


if __name__ == "__main__":
    main()
