"""A generator on disk: one folder, written one tensor at a time, the same bytes every time.

generator_config.json, generator.safetensors, README.md (the card; left alone where one is there)
"""

import json
from collections.abc import Iterator
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from composition.errors import CompositionError
from composition.formats.generator.config import CONFIG_FILE, PARTS, WEIGHTS_FILE, GeneratorConfig
from composition.formats.generator.files import validate_generator
from composition.formats.safetensors_writer import replace_file, safetensors_header, tensor_bytes
from composition.formats.sources import local_files
from composition.generative.layer import Generator

CARD = "README.md"


def save_generator(
    generator: Generator, folder: str | PathLike[str], *, dtype: torch.dtype = torch.float16, card: str | None = None
) -> None:
    """Write the folder; `card` replaces the plain one. Errors: `weights.overflow` where a value is too large."""
    path = Path(folder)
    path.mkdir(parents=True, exist_ok=True)
    replace_file(path / WEIGHTS_FILE, _safetensors(generator, dtype))
    text = card if card is not None else plain_card(generator.config)
    if card is not None or not (path / CARD).exists():
        replace_file(path / CARD, iter([text.encode()]))
    config = json.dumps(generator.config.to_dict(), indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    replace_file(path / CONFIG_FILE, iter([config.encode()]))


def load_generator(folder: str | PathLike[str]) -> Generator:
    """The generator in a folder, in float32 on the CPU. Errors: those of `validate_generator`."""
    path = Path(folder)
    files = {name: source for name, source in local_files(path).items() if name in (CONFIG_FILE, WEIGHTS_FILE)}
    validate_generator(files)
    config = GeneratorConfig.from_dict(json.loads((path / CONFIG_FILE).read_bytes()))
    generator = Generator(config)
    with safe_open(path / WEIGHTS_FILE, framework="pt") as source, torch.no_grad():
        for layer, module in enumerate(config.modules):
            for part in PARTS:
                getattr(generator, part)[layer].copy_(source.get_tensor(f"{module}.{part}"))
    if not all(torch.isfinite(parameter).all() for parameter in generator.parameters()):
        raise CompositionError(
            "generator.not_finite", f"{WEIGHTS_FILE} holds infinite values or NaN. Train the generator again."
        )
    return generator.requires_grad_(False)


def plain_card(config: GeneratorConfig) -> str:
    """A card of what is known: base, sizes, training."""
    lines = [
        "---",
        f"base_model: {config.base_model}",
        "tags: [generative-adapter]",
        "---",
        "",
        "# Generator",
        "",
        f"Writes a LoRA of rank {config.adapter_rank} on {len(config.modules)} layers of `{config.base_model}` from a "
        "text, in one pass of the base over it (GenerativeAdapter, [arXiv 2411.05877](https://arxiv.org/abs/2411.05877)).",
        "",
        "| sizes | |",
        "|---|---|",
        f"| parameters | {config.parameters:,} |",
        f"| R1, R2, rank | {config.inner}, {config.r}, {config.rank} |",
        f"| normalisation, shift | {config.norm}, {config.shift} |",
    ]
    for number, (tokens, steps) in enumerate(config.trainings):
        lines.append(f"| {'before that' if number else 'trained'} on | {tokens:,} tokens in {steps:,} steps |")
    return "\n".join(lines) + "\n" + _last_figures(config.training)


def _last_figures(training: dict[str, Any]) -> str:
    points = [point for point in training.get("curve", []) if "gap_completion" in point]
    if not points:
        return ""
    last = points[-1]
    return (
        f"\nOn its held-out documents it closes {last['gap_completion']:.0%} of the gap in completion and "
        f"{last['gap_reconstruction']:.0%} in reconstruction, from another document's adapter to that adapter with the "
        "full text in the prompt.\n"
    )


def _safetensors(generator: Generator, dtype: torch.dtype) -> Iterator[bytes]:
    config = generator.config
    shapes = {
        f"{module}.{part}": (dtype, shape) for module in config.modules for part, shape in config.shapes().items()
    }
    yield safetensors_header(shapes, {})
    for layer, module in enumerate(config.modules):
        for part in PARTS:
            yield tensor_bytes(getattr(generator, part)[layer], dtype, f"{module}.{part}")
