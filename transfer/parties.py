"""Who takes part in a transfer, and what comes out of it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Loader = Callable[[], tuple[Any, Any]]
"""Gives (model, tokenizer) when they are needed, in the recipe's precision; it may drop the other model first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parties:
    """Bases, adapter, seeds and discriminator of one transfer.

    `source_name` and `target_name` are the bases' ids with their revision: they are in the result's config
    (`target_id` where the config should name the base without a revision) and in the digests by which a finished stage
    is recognised. `seeds` are rows of `prompt` and, if possible, `completion`. `discriminator` is the folder that
    `train_discriminator` left, and `discriminator_facts` its facts. `synthesiser` invents the inputs where it is
    neither the target nor the source. With `processes` above 1 (one a GPU) the last stage trains in as many, each of
    which loads the target from `target_folder`.
    """

    source: Loader
    source_adapter: Path
    target: Loader
    seeds: Sequence[Mapping[str, Any]]
    source_name: str = ""
    target_name: str = ""
    target_id: str = ""
    discriminator: Path | None = None
    discriminator_facts: Mapping[str, Any] = field(default_factory=dict)
    synthesiser: Loader | None = None
    synthesiser_name: str = ""
    target_folder: Path | None = None
    processes: int = 1


@dataclass(frozen=True, slots=True)
class TransferResult:
    """`folder`: a PEFT adapter for the target. `rows`: the synthetic {prompt, completion}. `report`: plain JSON.

    The report has one part a stage (`synthesis`, `filter`, `labelling`, `distillation`), `warnings`, and `summary` of
    single figures.
    """

    folder: Path
    rows: list[dict[str, Any]]
    report: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Discriminator:
    """`folder`: a PEFT adapter on the source base, which answers yes or no. `facts`: plain JSON.

    `facts` holds `task`, `question`, `recall` (of held-out real inputs), `specificity` (of held-out invented ones),
    counts, the data's digest, the loss curve and seconds.
    """

    folder: Path
    facts: dict[str, Any]
