"""Trans-LoRA (arXiv:2405.17258) after its discriminator: synthesis, filter, labelling, distillation.

    D_syn = first N of { x ~ M_t(seeds) : p_φ(yes | t(x)) > p_φ(no | t(x)) }        φ: the stored discriminator
    θ_t   = argmin  Σ_{x ∈ D_syn} CE( M_t+θ_t (x),  greedy text of M_s+θ_s (x) )

`filter` swaps the second line's set: token-score (TiTok, arXiv:2510.04682) answers more candidates and keeps those
whose answers the source adapter changes most; none takes what comes. Each stage leaves its product in `work` and finds
it again by the digest of what it came from; source and target need not be in memory at once.
"""

import json
import math
from pathlib import Path
from typing import Any

from composition.errors import CompositionError
from composition.formats.safetensors_writer import replace_file
from composition.progress import Progress, ignore
from composition.recipes import TransLoraRecipe
from composition.recipes.transfer import DISCRIMINATOR, TOKEN_SCORE
from transfer.classes import check_classes, class_counts
from transfer.distillation import distil
from transfer.filtering import DiscriminatorFilter, Filtered, fewer, most_tries, seeds_warning, take_first
from transfer.labelling import Labels, usable
from transfer.parties import Loader, Parties, TransferResult
from transfer.soft_targets import soft_targets
from transfer.stages import LIVE, SHOWN, Part, folder_digest, forward_only
from transfer.synthesis import Candidates
from transfer.token_score import best_samples, mean_score

__all__ = ["Loader", "Parties", "TransferResult", "transfer"]

CUT_SHARE = 0.1
"""A warning is given if a larger share of the answers than this was cut."""


def transfer(parties: Parties, recipe: TransLoraRecipe, *, work: Path, progress: Progress = ignore) -> TransferResult:
    """A new adapter on the target that does what the old one does on the source.

    A killed run resumes from the folder `work` and ends with the same bytes. Nothing is loaded for a stage
    that is done. Errors: what `recipe.check_parties` refuses, `transfer.no_inputs`, `transfer.none_kept`,
    `transfer.seeds_unfit`, `transfer.starved`, `transfer.no_answers`, `adapter.does_not_load`, `transfer.targets`,
    `transfer.too_long`, `transfer.memory`, `train.diverged`, and whatever `progress` raises. What was made stays.
    """
    recipe.check_parties(len(parties.seeds), parties.discriminator is not None)
    progress = forward_only(progress)
    warnings = recipe.warnings(len(parties.seeds))
    stream = Candidates(*_generator(parties, recipe), _prompts(parties), recipe, recipe.seed, work / "candidates.json")
    choose = _by_token_score if recipe.filter == TOKEN_SCORE else _by_inputs
    filtered, rows, labelling, more = choose(parties, recipe, stream, work, progress)
    synthesis = stream.report(filtered.used, most_tries(recipe))
    warnings += more + fewer(len(filtered.texts), recipe.samples, synthesis["stopped"])
    labelling |= _answers(parties, recipe, rows, warnings)
    rows = usable(rows)
    soft = None
    if recipe.soft_targets:
        soft = soft_targets(parties, rows, work=work, progress=Part(progress, "labelling", 0.5, 0.55))
    _write_rows(work / "samples.jsonl", rows)
    folder, distillation = distil(
        parties, recipe, rows, work=work, progress=Part(progress, "distillation", 0.55, 1.0), soft=soft
    )
    parts = (synthesis, filtered.report, labelling, distillation)
    summary = {
        "candidates": synthesis["tries"],
        "samples": len(rows),
        "acceptance": filtered.report.get("acceptance"),
        "steps": distillation["steps"],
        "held_out_loss": min((epoch["loss"] for epoch in distillation["held_out"]), default=None),
        "seconds": round(sum(part.get("seconds") or 0.0 for part in parts), 2),
    }
    report = {
        "method": recipe.kind,
        "synthesis": synthesis,
        "filter": filtered.report,
        "labelling": labelling,
        "distillation": distillation,
        "warnings": warnings,
        "summary": {name: value for name, value in summary.items() if value is not None},
    }
    return TransferResult(folder, [_plain(row) for row in rows], report)


Chosen = tuple[Filtered, list[dict[str, Any]], dict[str, Any], list[str]]


def _by_inputs(parties: Parties, recipe: TransLoraRecipe, stream: Candidates, work: Path, progress: Progress) -> Chosen:
    """Keep inputs first, answer the kept ones."""
    part, warnings = Part(progress, "filter", 0.0, 0.4), []
    if recipe.filter == DISCRIMINATOR:
        judge = DiscriminatorFilter(parties, recipe, stream, work)
        filtered = judge.run(part)
        warnings = seeds_warning(judge.state["seeds"])
    else:
        filtered = take_first(stream, recipe, recipe.samples, part)
        stream.refuse_empty("The generator")
    labels = _labels(parties, recipe, filtered.texts, work / "labels.json", scored=False)
    rows, figures = labels.run(Part(progress, "labelling", 0.4, 0.5))
    return filtered, rows, figures, warnings


def _by_token_score(
    parties: Parties, recipe: TransLoraRecipe, stream: Candidates, work: Path, progress: Progress
) -> Chosen:
    """Answer more inputs than are wanted, keep those that the adapter changes most."""
    wanted = math.ceil(recipe.samples * recipe.oversample)
    first = take_first(stream, recipe, wanted, Part(progress, "filter", 0.0, 0.3))
    stream.refuse_empty("The generator")
    labels = _labels(parties, recipe, first.texts, work / "scored_labels.json", scored=True)
    rows, figures = labels.run(Part(progress, "labelling", 0.3, 0.5))
    answered = usable(rows)
    kept = best_samples(answered, recipe.samples)
    chosen = set(kept)
    scores = [round(mean_score(row["scores"]), 4) for row in answered]
    rejected = [place for place in range(len(answered)) if place not in chosen]
    report = {
        "filter": recipe.filter,
        "judged": len(answered),
        "kept": len(kept),
        "rejected": len(rejected),
        "acceptance": round(len(kept) / len(answered), 4) if answered else 0.0,
        "least_score": min((scores[place] for place in kept), default=None),
        "examples": {
            "kept": [answered[place]["prompt"] for place in kept[:SHOWN]],
            "rejected": [answered[place]["prompt"] for place in rejected[:SHOWN]],
        },
    }
    empty = len(rows) - len(answered)
    warnings = [f"{empty} of {len(rows)} answers were empty and left out."] if empty else []
    picked = [answered[place] for place in kept]
    return Filtered([row["prompt"] for row in picked], first.used, report), picked, figures, warnings


def _labels(parties: Parties, recipe: TransLoraRecipe, texts: list[str], path: Path, *, scored: bool) -> Labels:
    return Labels(
        parties.source,
        parties.source_adapter,
        parties.source_name,
        texts,
        answer_tokens=recipe.answer_tokens,
        batch=recipe.labelling_batch,
        scored=scored,
        key=folder_digest(parties.source_adapter),
        path=path,
    )


def _answers(
    parties: Parties, recipe: TransLoraRecipe, rows: list[dict[str, Any]], warnings: list[str]
) -> dict[str, Any]:
    """What the answers are, for the report. Errors: `transfer.no_answers`, `transfer.starved`."""
    answered = usable(rows)
    cut = sum(1 for row in answered if row.get("cut"))
    if not answered:
        raise CompositionError(
            "transfer.no_answers",
            f"The source adapter gave an empty answer to all {len(rows)} inputs, so there is nothing to learn. Check "
            "that the adapter is for this task and that the seeds look like its inputs.",
            examples=[row["prompt"] for row in rows[:LIVE]],
        )
    if len(answered) < len(rows):
        warnings.append(f"{len(rows) - len(answered)} of {len(rows)} answers were empty and left out.")
    if cut > CUT_SHARE * len(answered):
        warnings.append(
            f"{cut} of {len(answered)} answers were cut at {recipe.answer_tokens} tokens; raise answer_tokens."
        )
    classes = class_counts([row["completion"] for row in answered])
    seeds = [str(row.get("completion") or "") for row in parties.seeds]
    warnings += check_classes(classes, seeds, recipe.least_per_class)
    return {
        "answered": len(answered),
        "empty": len(rows) - len(answered),
        "cut": cut,
        "class_sizes": list(classes.values()),
        "examples": [_plain(row) for row in answered[:SHOWN]],
    }


def _generator(parties: Parties, recipe: TransLoraRecipe) -> tuple[Loader, str]:
    if parties.synthesiser is not None:
        return parties.synthesiser, parties.synthesiser_name
    if recipe.synthesiser == "source":
        return parties.source, parties.source_name
    return parties.target, parties.target_name


def _prompts(parties: Parties) -> list[str]:
    """The seeds' inputs. Error: `transfer.seed` for a row without one."""
    for number, row in enumerate(parties.seeds, 1):
        if not isinstance(row.get("prompt"), str) or not row["prompt"].strip():
            raise CompositionError(
                "transfer.seed",
                f"Seed {number} has no text under 'prompt'. A seed is a row with a prompt and ideally its completion.",
                seed=number,
            )
    return [row["prompt"] for row in parties.seeds]


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    return {"prompt": row["prompt"], "completion": row["completion"]}


def _write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = (json.dumps(_plain(row), ensure_ascii=False) + "\n" for row in rows)
    replace_file(path, (line.encode() for line in lines))
