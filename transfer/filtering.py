"""Which invented inputs are kept: those the discriminator takes for real, the best by token score, or just the first.

The discriminator's way is rejection sampling: more is invented until |D_syn| inputs are kept or the cap on candidates
is reached. Generator and judge use different bases, so it goes in rounds, each as large as the acceptance rate so
far asks for; the kept ones are the first that were accepted, in the order of the stream, however the rounds fell.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from composition.errors import CompositionError
from composition.progress import Progress
from composition.recipes import TransLoraRecipe
from transfer.discriminator import Judge, keeps
from transfer.parties import Parties
from transfer.stages import LIVE, SHOWN, Clock, Part, Product, attached, digest, folder_digest
from transfer.synthesis import Candidates

LEAST_RATE = 0.02
"""The lowest acceptance rate that a round is planned with."""


@dataclass(slots=True)
class Filtered:
    """Kept texts, how many candidates were looked at for them, and the report's part."""

    texts: list[str]
    used: int
    report: dict[str, Any]


def take_first(stream: Candidates, recipe: TransLoraRecipe, wanted: int, progress: Progress) -> Filtered:
    """The first `wanted` distinct inputs."""
    stream.ensure(wanted, most_tries(recipe), Part(progress, "synthesis", 0.0, 1.0))
    texts = stream.texts[:wanted]
    return Filtered(texts, len(texts), {"filter": recipe.filter, "judged": 0, "kept": len(texts), "rejected": 0})


def most_tries(recipe: TransLoraRecipe) -> float:
    """The cap on candidates."""
    return recipe.samples * recipe.max_candidates


class DiscriminatorFilter:
    """Rejection sampling by a stored discriminator; verdicts on disk after every batch."""

    def __init__(self, parties: Parties, recipe: TransLoraRecipe, stream: Candidates, work: Path) -> None:
        assert parties.discriminator is not None
        self.parties, self.recipe, self.stream = parties, recipe, stream
        facts: Mapping[str, Any] = parties.discriminator_facts
        self.task, self.question = facts.get("task") or recipe.named_task, facts.get("question") or "main"
        self.seeds = [str(row["prompt"]) for row in parties.seeds]
        asked = [self.task, self.question, recipe.labelling_batch, recipe.max_length]
        key = digest("verdicts", folder_digest(parties.discriminator), parties.source_name, stream.key, asked)
        self.product = Product(work / "verdicts.json", key)
        self.state = self.product.read() or {"seeds": [], "verdicts": [], "seconds": 0.0}
        self.verdicts: list[list[float]] = self.state["verdicts"]

    def run(self, progress: Progress) -> Filtered:
        """Errors: `transfer.seeds_unfit`, `transfer.none_kept`, `transfer.no_inputs`, `adapter.does_not_load`."""
        recipe, stream = self.recipe, self.stream
        while True:
            kept = self.kept()
            if len(kept) >= recipe.samples:
                break
            begin = len(kept) / recipe.samples
            middle = begin + 0.7 * (1 - begin)
            part = Part(progress, "synthesis", begin, middle)
            ended = not stream.ensure(self._goal(len(kept)), most_tries(recipe), part)
            stream.refuse_empty("The generator")
            if not self._judge(ended, Part(progress, "filter", middle, 1.0)) and ended:
                break
        return self._result()

    def kept(self) -> list[int]:
        """Places of the first `samples` accepted candidates."""
        return [place for place, verdict in enumerate(self.verdicts) if keeps(verdict)][: self.recipe.samples]

    def _goal(self, kept: int) -> int:
        """How many candidates should do, in whole batches."""
        judged, batch = len(self.verdicts), self.recipe.labelling_batch
        rate = max(kept / judged, LEAST_RATE) if judged else 1.0
        goal = judged + math.ceil((self.recipe.samples - kept) / rate)
        return max(1, math.ceil(min(goal, 4 * judged + self.recipe.samples) / batch)) * batch

    def _judge(self, ended: bool, progress: Progress) -> bool:
        """Judge whole batches of what is not judged yet, the last one short when the stream has ended."""
        size, before = self.recipe.labelling_batch, len(self.verdicts)
        if not self._next(size, ended):
            return False
        clock = Clock(self.state["seconds"])
        model, tokenizer = self.parties.source()
        training = model.training
        model.eval()
        assert self.parties.discriminator is not None
        try:
            name = self.parties.source_name
            with attached(model, self.parties.discriminator, "The discriminator", name) as adapted:
                judge = Judge(adapted, tokenizer, self.task, self.question, self.recipe.max_length)
                if not self.state["seeds"]:
                    self.state["seeds"] = judge.verdicts(self.seeds)
                    self._refuse_unfit()
                while (texts := self._next(size, ended)) and len(self.kept()) < self.recipe.samples:
                    self.verdicts += map(list, judge.verdicts(texts))
                    self.state["seconds"] = clock.seconds
                    self.product.write(self.state)
                    self._tell(progress)
        finally:
            model.train(training)
        return len(self.verdicts) > before

    def _next(self, size: int, ended: bool) -> list[str]:
        texts = self.stream.texts[len(self.verdicts) : len(self.verdicts) + size]
        return texts if ended or len(texts) == size else []

    def _refuse_unfit(self) -> None:
        if not any(map(keeps, self.state["seeds"])):
            raise CompositionError(
                "transfer.seeds_unfit",
                f"The discriminator takes none of the {len(self.seeds)} seeds for an input of this task. Give seeds "
                "that look like the adapter's own inputs, with the instruction, or check that the discriminator "
                "belongs to this adapter.",
            )

    def _tell(self, progress: Progress) -> None:
        kept, judged = len(self.kept()), len(self.verdicts)
        said = list(zip(self.stream.texts[judged - 8 : judged], self.verdicts[-8:], strict=False))
        progress(
            kept / self.recipe.samples,
            f"{kept} of {self.recipe.samples} kept, {judged} judged",
            kept=kept,
            rejected=judged - sum(map(keeps, self.verdicts)),
            examples=[text for text, verdict in said if keeps(verdict)][-LIVE:],
            rejected_examples=[text for text, verdict in said if not keeps(verdict)][-LIVE:],
        )

    def _result(self) -> Filtered:
        kept, texts = self.kept(), self.stream.texts
        if not kept:
            raise CompositionError(
                "transfer.none_kept",
                f"The discriminator accepted none of {len(self.verdicts)} invented inputs as real. Give more seeds, "
                "lower temperature, let another base invent the inputs, or use filter=token-score.",
                examples=texts[:LIVE],
            )
        used = kept[-1] + 1 if len(kept) == self.recipe.samples else len(self.verdicts)
        rejected = [place for place in range(used) if not keeps(self.verdicts[place])]
        report = {
            "filter": self.recipe.filter,
            "judged": used,
            "kept": len(kept),
            "rejected": len(rejected),
            "acceptance": round(len(kept) / used, 4),
            "seeds_accepted": sum(map(keeps, self.state["seeds"])),
            "seconds": self.state["seconds"],
            "discriminator": {
                name: self.parties.discriminator_facts.get(name) for name in ("recall", "specificity", "task")
            },
            "examples": {
                "kept": [texts[place] for place in kept[:SHOWN]],
                "rejected": [texts[place] for place in rejected[:SHOWN]],
            },
        }
        return Filtered([texts[place] for place in kept], used, report)


def fewer(kept: int, wanted: int, stopped: str | None) -> list[str]:
    """The warning where less was kept than asked for."""
    if kept >= wanted:
        return []
    return [f"Only {kept} of {wanted} samples: {stopped or 'the candidates ran out'}."]


def seeds_warning(verdicts: Sequence[Sequence[float]]) -> list[str]:
    """The warning where the discriminator doubts some seeds."""
    accepted = sum(map(keeps, verdicts))
    if accepted == len(verdicts):
        return []
    return [f"The discriminator takes {len(verdicts) - accepted} of {len(verdicts)} seeds for foreign to the task."]
