"""The discriminator of Trans-LoRA (arXiv:2405.17258, eq. 1): a LoRA φ on the source base that knows real inputs.

    φ* = argmax  E_{x ~ D} log p_φ(yes | t(x))  +  E_{x ~ M_s} log p_φ(no | t(x))

D are the adapter's own inputs, M_s what the source base invents from the seeds, and t(x) asks whether x is from the
dataset. It is trained once, while D is at hand, and kept beside the adapter for every later transfer. An input is kept
if and only if p(yes | t(x)) > p(no | t(x)): the larger of two logits, no threshold.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from composition.errors import CompositionError
from composition.moe.batches import shuffled
from composition.progress import Progress, ignore
from composition.recipes import DiscriminatorRecipe
from composition.running.prompting import Prompted, Prompting
from composition.running.reading import Reader
from transfer.adapters import lora_config, save_adapter, trainable
from transfer.loss import Example
from transfer.parties import Discriminator, Loader
from transfer.stages import SHOWN, Clock, Part, Product, attached, digest, folder_digest
from transfer.synthesis import Candidates
from transfer.training import Plan, fit

QUESTIONS = {
    "main": "{x}\nIs the above question from {name} dataset?",
    "appendix": "Answer in as few words as possible. {x} Is the above question from the {name} dataset?",
}
JUDGED_AT_ONCE = 32
FEWEST_NEGATIVES = 8
NOT_LEARNT = ("least_recall", "split")
"""Fields that change nothing in what is trained: a refused discriminator passes as it is if less is required."""


def train_discriminator(
    load: Loader,
    source_adapter: Path,
    real: Sequence[str],
    seeds: Sequence[str],
    recipe: DiscriminatorRecipe,
    *,
    work: Path,
    source_name: str = "",
    progress: Progress = ignore,
) -> Discriminator:
    """Learn to tell the `real` inputs from those that the source base invents from `seeds`.

    A killed run resumes from `work` and ends with the same bytes. Errors: `discriminator.too_few_real`,
    `discriminator.recall` below the recipe's least recall on held-out real inputs, `discriminator.negatives`,
    `transfer.no_seeds`, `transfer.no_inputs`, `train.diverged`.
    """
    clock = Clock()
    real = list(dict.fromkeys(text for text in real if text.strip()))
    recipe.check_data(len(real), len(seeds))
    wanted = recipe.negatives or len(real)
    stream = Candidates(load, source_name, seeds, recipe, recipe.seed, work / "negatives.json")
    stream.ensure(wanted, wanted * recipe.max_candidates, Part(progress, "synthesis", 0.0, 0.45))
    stream.refuse_empty("The source base")
    known = set(real)
    negatives = [text for text in stream.texts[:wanted] if text not in known]
    if len(negatives) < FEWEST_NEGATIVES:
        raise CompositionError(
            "discriminator.negatives",
            f"The source base invented only {len(negatives)} inputs that are not real ones; at least "
            f"{FEWEST_NEGATIVES} are needed to learn from. Give other seeds, or raise temperature or similarity.",
            negatives=len(negatives),
        )
    train, held = {}, {}
    for name, texts in (("real", real), ("invented", negatives)):
        order = shuffled(len(texts), f"{recipe.seed} {name} held out")
        count = max(1, round(len(texts) * recipe.holdout))
        held[name] = [texts[place] for place in sorted(order[:count])]
        train[name] = [texts[place] for place in sorted(order[count:])]
    data = digest("real", real)
    fields = {name: value for name, value in recipe.to_dict().items() if name not in NOT_LEARNT}
    key = digest("discriminator", fields, source_name, folder_digest(source_adapter), data, negatives)
    product = Product(work / "discriminator.json", key)
    folder = work / f"discriminator-{key[:12]}"
    facts = product.read()
    if facts is None or not folder.is_dir():
        record = _train(load, recipe, train, folder, work / "discriminator-state", key, source_name, progress)
        facts = _measure(load, folder, recipe, held, Part(progress, "measuring", 0.95, 1.0))
        facts |= {
            "task": recipe.named_task,
            "question": recipe.question,
            "counts": {name: {"train": len(train[name]), "held_out": len(held[name])} for name in ("real", "invented")},
            "data": {"sha256": data},
            "synthesis": stream.report(wanted, wanted * recipe.max_candidates),
            "training": record,
            "recipe": recipe.to_dict(),
            "source_adapter": folder_digest(source_adapter),
            "seconds": clock.seconds,
        }
        product.write(facts)
    if facts["recall"] < recipe.least_recall:
        raise CompositionError(
            "discriminator.recall",
            f"The discriminator recognises only {facts['recall']:.0%} of {len(held['real'])} held-out real inputs as "
            f"real; at least {recipe.least_recall:.0%} is required, or it would throw away good text. Train longer "
            "(epochs or learning_rate), give more real rows or more negatives, or lower least_recall to accept it.",
            **{name: facts[name] for name in ("recall", "specificity")},
        )
    progress(1.0, f"Knows {facts['recall']:.0%} of held-out real inputs", recall=facts["recall"])
    return Discriminator(folder, facts)


class Judge:
    """The question t(x) to a model that carries the discriminator, and the two tokens that answer it."""

    def __init__(self, model: Any, tokenizer: Any, task: str, question: str, longest: int) -> None:
        if question not in QUESTIONS:
            raise CompositionError(
                "transfer.question", f"The discriminator asks {question!r}; known are {', '.join(QUESTIONS)}."
            )
        self.model, self.question, self.task, self.longest = model, QUESTIONS[question], task, longest
        self.prompting = Prompting(tokenizer, getattr(model, "generation_config", None))
        self.yes, self.no = answer_tokens(self.prompting)

    def ids(self, text: str) -> list[int]:
        """Tokens of t(x); the end of x is cut if the question would be too long."""
        ids = self.prompting.prompt(self.question.format(x=text, name=self.task))
        while len(ids) > self.longest and len(text) > 1:
            text = text[: max(1, len(text) - max(1, (len(ids) - self.longest)))]
            ids = self.prompting.prompt(self.question.format(x=text, name=self.task))
        return ids

    def example(self, text: str, real: bool) -> Example:
        """A row to learn from: t(x) and its right answer."""
        return Example([*self.ids(text), self.yes if real else self.no], [True])

    @torch.inference_mode()
    def verdicts(self, texts: Sequence[str]) -> list[tuple[float, float]]:
        """(log p(yes), log p(no)) of each text, read in one batch."""
        reader = Reader(self.model, self.prompting)
        rows = [Prompted(self.ids(text), [], []) for text in texts]
        reader.read_prefix([row.prompt for row in rows], 1)
        logits = reader.read(rows).logits  # [rows, vocabulary]
        log_p = logits[:, [self.yes, self.no]] - logits.logsumexp(1, keepdim=True)
        return [(round(yes, 6), round(no, 6)) for yes, no in log_p.tolist()]


def keeps(verdict: Sequence[float]) -> bool:
    """The rule: p(yes) > p(no)."""
    return verdict[0] > verdict[1]


def answer_tokens(prompting: Prompting) -> tuple[int, int]:
    """The first tokens of yes and no, as an answer writes them. Error: `transfer.yes_no` where they are one token."""
    space = "" if prompting.chat else " "
    yes, no = (prompting.answer(space + word) for word in ("yes", "no"))
    if not yes or not no or yes[0] == no[0]:
        raise CompositionError(
            "transfer.yes_no",
            "The source base's tokenizer begins yes and no with the same token, so it can't be asked. "
            "Use filter=token-score.",
        )
    return yes[0], no[0]


def _train(
    load: Loader,
    recipe: DiscriminatorRecipe,
    train: Mapping[str, Sequence[str]],
    folder: Path,
    state: Path,
    key: str,
    source_name: str,
    progress: Progress,
) -> dict[str, Any]:
    model, tokenizer = load()
    config = lora_config(recipe.rank, recipe.alpha, recipe.target_modules)
    with trainable(model, config, recipe.seed) as adapted:
        judge = Judge(adapted, tokenizer, recipe.named_task, recipe.question, recipe.max_length)
        examples = [judge.example(text, real=True) for text in train["real"]]
        examples += [judge.example(text, real=False) for text in train["invented"]]
        each, epoch, order = balanced_order(len(train["real"]), len(train["invented"]), recipe)
        plan = Plan(
            steps=recipe.steps or recipe.epochs * epoch,
            epoch=epoch,
            rate=recipe.learning_rate,
            order=order,
            rows_at_once=2 * each,
            pad=Reader(adapted, judge.prompting).pad,
        )
        part = Part(progress, "discriminator", 0.45, 0.95)
        record = fit(adapted, examples, [], plan, state=state, key=key, progress=part)
        save_adapter(adapted, folder, source_name)
    return {"steps": record.steps, "curve": record.curve, "seconds": record.seconds, "tokens": record.tokens}


def balanced_order(real: int, invented: int, recipe: DiscriminatorRecipe) -> tuple[int, int, Any]:
    """(rows of each kind a step, steps an epoch, order): each batch is half real; the smaller kind is repeated more."""
    each = max(1, recipe.batch_size // 2)
    epoch = -(-max(real, invented) // each)

    def stream(kind: str, count: int, offset: int, step: int) -> Iterator[int]:
        for place in range(step * each, (step + 1) * each):
            turn, number = divmod(place, count)
            yield offset + shuffled(count, f"{recipe.seed} {kind} {turn}")[number]

    return each, epoch, lambda step: [*stream("real", real, 0, step), *stream("invented", invented, real, step)]


def _measure(
    load: Loader, folder: Path, recipe: DiscriminatorRecipe, held: Mapping[str, Sequence[str]], progress: Progress
) -> dict[str, Any]:
    model, tokenizer = load()
    said: dict[str, list[bool]] = {}
    with attached(model, folder, "The discriminator", "") as adapted:
        judge = Judge(adapted, tokenizer, recipe.named_task, recipe.question, recipe.max_length)
        for name, texts in held.items():
            said[name] = []
            for start in range(0, len(texts), JUDGED_AT_ONCE):
                said[name] += map(keeps, judge.verdicts(texts[start : start + JUDGED_AT_ONCE]))
                progress(start / len(texts), f"Asking about held-out {name} inputs")
    missed = [text for text, yes in zip(held["real"], said["real"], strict=True) if not yes]
    fooled = [text for text, yes in zip(held["invented"], said["invented"], strict=True) if yes]
    return {
        "recall": sum(said["real"]) / len(said["real"]),
        "specificity": 1 - sum(said["invented"]) / len(said["invented"]),
        "examples": {"real_taken_for_invented": missed[:SHOWN], "invented_taken_for_real": fooled[:SHOWN]},
    }
