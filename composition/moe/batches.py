"""What a router learns from: rows of each task as tokens, some held out, and batches that depend on the step alone.

Every batch takes tasks in turn, so that a large dataset does not drown a small one; each task's rows are shuffled anew
for every pass. Which rows stand in batch t follows from the seed and t, so a run that resumes at step t sees
what the first run would have seen.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from composition.recipes import AssembleRecipe
from composition.running.prompting import Prompting, left_pad, positions

Row = Mapping[str, Any]
MOST_HELD = 64
FEWEST_ROWS = 4
"""A task with fewer rows holds none out."""
WORTH_CUTTING = 0.2
"""A batch is read in two pieces if that saves at least this share of its places."""


@dataclass(frozen=True, slots=True)
class Example:
    """One row: its tokens, how many at the end are the answer, and the expert it belongs to (None: unlabelled)."""

    ids: list[int]
    answer: int
    expert: int | None


@dataclass(frozen=True, slots=True)
class Batch:
    """ids, mask, place [B, W] padded on the left; experts [B] (-1: none); `answers`: the longest answer."""

    ids: torch.Tensor
    mask: torch.Tensor
    place: torch.Tensor
    learnt: torch.Tensor
    experts: torch.Tensor
    answers: int

    def to(self, device: torch.device) -> "Batch":
        tensors = ("ids", "mask", "place", "learnt", "experts")
        return replace(self, **{name: getattr(self, name).to(device) for name in tensors})

    @property
    def tokens(self) -> torch.Tensor:
        """[B · W] bool: which of the flattened tokens are real."""
        return self.mask.flatten().bool()

    @property
    def labels(self) -> torch.Tensor:
        """[B · W] int64: the expert of each flattened token."""
        return self.experts.repeat_interleave(self.mask.shape[1])


@dataclass(frozen=True, slots=True)
class Task:
    """One dataset: what is trained on, what is held out, and how many rows were too long."""

    name: str
    examples: list[Example]
    held: list[Example]
    shortened: int


class Corpus:
    """All tasks of a training; `rows` counts the rows trained on."""

    def __init__(self, tasks: Sequence[Task], recipe: AssembleRecipe, pad: int) -> None:
        self.tasks, self.recipe, self.pad = list(tasks), recipe, pad
        self.rows = sum(len(task.examples) for task in tasks)
        self._orders: dict[tuple[int, int], list[int]] = {}

    def batch(self, step: int) -> Batch:
        """The batch of this step, the same in every run."""
        return collate(self._drawn(step), self.pad, self.recipe.loss_on)

    def pieces(self, step: int) -> list[Batch]:
        """The rows of this step's batch, in two batches, short rows and long ones, where that spares much padding."""
        rows = sorted(self._drawn(step), key=lambda example: len(example.ids))
        widths, count = [len(row.ids) for row in rows], len(rows)
        places, cut = min((c * widths[c - 1] + (count - c) * widths[-1], c) for c in range(count))
        if places > (1 - WORTH_CUTTING) * count * widths[-1]:
            cut = 0
        return [collate(part, self.pad, self.recipe.loss_on) for part in (rows[:cut], rows[cut:]) if part]

    def held(self) -> list[tuple[str, list[Batch]]]:
        """Batches of what each task holds out."""
        size = self.recipe.batch_size
        return [
            (t.name, [collate(t.held[i : i + size], self.pad, "completion") for i in range(0, len(t.held), size)])
            for t in self.tasks
            if t.held
        ]

    def all_batches(self, task: int) -> list[Batch]:
        """Every row of one task once, in their order."""
        size, rows = self.recipe.batch_size, self.tasks[task].examples
        return [collate(rows[i : i + size], self.pad, "all") for i in range(0, len(rows), size)]

    def digest(self) -> str:
        """SHA-256 of everything a run's result takes from the data."""
        seen = hashlib.sha256()
        for task in self.tasks:
            for examples in (task.examples, task.held):
                seen.update(repr((task.name, [(e.ids, e.answer, e.expert) for e in examples])).encode())
        return seen.hexdigest()

    def _drawn(self, step: int) -> list[Example]:
        size = self.recipe.batch_size
        return [self._example(number) for number in range(step * size, (step + 1) * size)]

    def _example(self, number: int) -> Example:
        turn, which = divmod(number, len(self.tasks))
        task = self.tasks[which]
        epoch, place = divmod(turn, len(task.examples))
        if (which, epoch) not in self._orders:
            self._orders[which, epoch] = shuffled(len(task.examples), f"{self.recipe.seed} {task.name} {epoch}")
        return task.examples[self._orders[which, epoch][place]]


def make_corpus(
    tokenizer: Any, data: Mapping[str, Sequence[Row]], names: Sequence[str], recipe: AssembleRecipe, model: Any = None
) -> Corpus:
    """The rows of `data` (by expert's name, or any name for a mixed text) as tokens.

    Raises CompositionError where `recipe.check_data` does.
    """
    recipe.check_data(list(names), {name: len(rows) for name, rows in data.items()})
    prompting = Prompting(tokenizer, getattr(model, "generation_config", None))
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else next(iter(sorted(prompting.stop)), 0)
    tasks = []
    for name, rows in data.items():
        expert = names.index(name) if name in names else None
        examples = [_example(prompting, row, expert, recipe.max_length) for row in rows]
        order = shuffled(len(rows), f"{recipe.seed} {name} held out")
        count = held_count(len(rows), recipe.holdout)
        held, kept = order[:count], sorted(order[count:])
        short = sum(1 for _, cut in examples if cut)
        tasks.append(Task(name, [examples[i][0] for i in kept], [examples[i][0] for i in held], short))
    return Corpus(tasks, recipe, pad)


def held_count(rows: int, share: float) -> int:
    """How many of this many rows are held out."""
    if not share or rows < FEWEST_ROWS:
        return 0
    return min(max(1, round(rows * share)), MOST_HELD)


def collate(examples: Sequence[Example], pad: int, loss_on: str) -> Batch:
    """Rows side by side, ending together."""
    ids, mask = left_pad([example.ids for example in examples], pad)
    width = ids.shape[1]
    learnt = torch.zeros_like(mask, dtype=torch.bool)
    for row, example in enumerate(examples):
        count = example.answer if loss_on == "completion" else len(example.ids) - 1
        learnt[row, width - min(count, len(example.ids) - 1) :] = True
    longest = int(learnt.sum(1).max())
    experts = torch.tensor([-1 if example.expert is None else example.expert for example in examples])
    return Batch(ids, mask, positions(mask), learnt, experts, longest)


def shuffled(count: int, key: str) -> list[int]:
    """A permutation that depends on the key alone."""
    seed = int.from_bytes(hashlib.sha256(key.encode()).digest()[:7], "big")
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed)).tolist()


def _example(prompting: Prompting, row: Row, expert: int | None, longest: int) -> tuple[Example, bool]:
    """(the row, whether it lost the beginning of its prompt or the end of its answer)."""
    prompt, answer = prompting.prompt(row["prompt"]), prompting.answer(row["completion"])
    whole = len(prompt) + len(answer)
    answer = answer[: longest - 1]
    prompt = prompt[max(0, len(prompt) + len(answer) - longest) :]
    return Example([*prompt, *answer], len(answer), expert), whole > longest
