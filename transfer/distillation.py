"""The last stage: a new adapter on the target learns the teacher's text by cross-entropy.

Bases have different vocabularies, so the teacher's tokens mean nothing to the target: its text does. Where both have
one tokenizer, `soft_targets` mixes in the cross-entropy to the teacher's own distributions, a labelled extension.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from composition.moe.batches import shuffled
from composition.progress import Progress
from composition.recipes import TransLoraRecipe
from composition.recipes.transfer import TOKEN_SCORE
from composition.registry import recipe_from_dict
from composition.running.base_models import load_base
from composition.running.prompting import Prompting
from composition.running.reading import Reader
from composition.training.parallel import ALONE, Replicas, launch
from transfer.adapters import adapter_config, save_adapter, trainable
from transfer.loss import Example
from transfer.parties import Parties
from transfer.soft_targets import SoftTargets
from transfer.stages import Product, digest
from transfer.token_score import token_mask
from transfer.training import Plan, fit

FEWEST_FOR_HOLDOUT = 10
FIELDS = (
    *("peft_type", "rank", "alpha", "target_modules", "epochs", "learning_rate", "batch_size", "micro_batch"),
    *("holdout", "patience", "soft_targets", "token_share", "max_length", "gradient_checkpointing", "seed", "filter"),
)


def distil(
    parties: Parties,
    recipe: TransLoraRecipe,
    rows: Sequence[dict[str, Any]],
    *,
    work: Path,
    progress: Progress,
    soft: SoftTargets | None = None,
    replicas: Replicas = ALONE,
) -> tuple[Path, dict[str, Any]]:
    """(the adapter's folder, the report's part). Errors: `train.diverged`, `transfer.memory`, `transfer.targets`.

    With soft targets, which would have to travel, one process trains.
    """
    fields = {name: getattr(recipe, name) for name in FIELDS}
    key = digest("distillation", fields, parties.target_name, parties.target_id, list(rows))
    product, folder = Product(work / "distillation.json", key), work / f"adapter-{key[:12]}"
    report = product.read()
    if report is not None and folder.is_dir():
        return folder, report
    if parties.processes > 1 and parties.target_folder is not None and soft is None:
        arguments = {
            "target": str(parties.target_folder),
            "names": {"target_name": parties.target_name, "target_id": parties.target_id},
            "recipe": recipe.to_dict(),
            "rows": list(rows),
            "work": str(work),
        }
        task = f"{__name__}:distil_share"
        return folder, launch(task, arguments, processes=parties.processes, progress=progress)
    model, tokenizer = parties.target()
    config = adapter_config(recipe)
    with trainable(model, config, recipe.seed, checkpointing=recipe.gradient_checkpointing) as adapted:
        prompting = Prompting(tokenizer, getattr(model, "generation_config", None))
        examples = [_example(prompting, row, number, recipe, soft) for number, row in enumerate(rows)]
        held, kept = held_out(len(rows), recipe)
        plan = Plan(
            steps=recipe.epochs * (epoch := -(-len(kept) // recipe.batch_size)),
            epoch=epoch,
            rate=recipe.learning_rate,
            order=epoch_order(kept_count := len(kept), recipe.batch_size, recipe.seed),
            rows_at_once=recipe.batch_size if recipe.micro_batch == "auto" else int(recipe.micro_batch),
            halve=recipe.micro_batch == "auto",
            patience=recipe.patience if held else None,
            soft=recipe.soft_targets,
            pad=Reader(adapted, prompting).pad,
        )
        record = fit(
            adapted,
            [examples[place] for place in kept],
            [examples[place] for place in held],
            plan,
            state=work / "distillation-state",
            key=key,
            progress=progress,
            replicas=replicas,
        )
        trained = sum(p.numel() for p in adapted.parameters() if p.requires_grad)
        if replicas.first:
            save_adapter(adapted, folder, parties.target_id or parties.target_name)
    report = {
        "rows": kept_count,
        "held_out_rows": len(held),
        "steps": record.steps,
        "epochs": recipe.epochs,
        "stopped_early": record.stopped_early,
        "best_epoch": record.best_epoch,
        "curve": record.curve,
        "held_out": record.held,
        "rows_at_once": record.rows_at_once,
        "parameters": trained,
        "precision": str(next(model.parameters()).dtype).removeprefix("torch."),
        "tokens": record.tokens,
        "seconds": record.seconds,
        "tokens_per_second": round(record.tokens / record.seconds, 1) if record.seconds else None,
    }
    if replicas.first:
        product.write(report)
    return folder, report


def distil_share(arguments: dict[str, Any], replicas: Replicas, progress: Progress) -> dict[str, Any]:
    """One of several processes of `distil`; the report's part."""
    recipe, folder = recipe_from_dict(arguments["recipe"]), Path(arguments["target"])
    assert isinstance(recipe, TransLoraRecipe)

    def target() -> tuple[Any, Any]:
        return load_base(folder, recipe.precision, device_map={"": replicas.device})

    parties = Parties(source=target, source_adapter=folder, target=target, seeds=[], **arguments["names"])
    work = Path(arguments["work"])
    return distil(parties, recipe, arguments["rows"], work=work, progress=progress, replicas=replicas)[1]


def held_out(rows: int, recipe: TransLoraRecipe) -> tuple[list[int], list[int]]:
    """(places held out, places learnt from)."""
    if not recipe.holdout or rows < FEWEST_FOR_HOLDOUT:
        return [], list(range(rows))
    order = shuffled(rows, f"{recipe.seed} held out")
    count = max(1, round(rows * recipe.holdout))
    return sorted(order[:count]), sorted(order[count:])


def epoch_order(rows: int, batch: int, seed: int) -> Callable[[int], list[int]]:
    """Which rows stand in a step: every epoch sees each row once, in an order of its own, the last batch short."""
    epoch = -(-rows // batch)

    def order(step: int) -> list[int]:
        turn, place = divmod(step, epoch)
        return shuffled(rows, f"{seed} epoch {turn}")[place * batch : (place + 1) * batch]

    return order


def _example(
    prompting: Prompting, row: dict[str, Any], number: int, recipe: TransLoraRecipe, soft: SoftTargets | None
) -> Example:
    """Prompt and answer as tokens; too long a row loses the beginning of its prompt, then the end of its answer."""
    prompt, answer = prompting.prompt(row["prompt"]), prompting.answer(row["completion"])
    if row.get("cut") and prompting.end:
        answer = answer[: -len(prompting.end)]
    answer = answer[: recipe.max_length - 1]
    prompt = prompt[max(0, len(prompt) + len(answer) - recipe.max_length) :]
    learnt = [True] * len(answer)
    if recipe.filter == TOKEN_SCORE and recipe.token_share < 1:
        learnt = token_mask(prompting, answer, row["scores"], recipe.token_share)
    return Example([*prompt, *answer], learnt, soft.of(number, answer) if soft else None)
