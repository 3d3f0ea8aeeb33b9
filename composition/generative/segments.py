"""What a generator learns from: documents, cut into segments that never see each other.

A step takes a few documents, n segments of `window` tokens of each (arXiv:2411.05877, the `abcdabcd` mask):
    state        segment i alone through the bare base                       → S_i
    adapter i    of S_0 + … + S_i                                            so contexts of 1 to n segments are learnt
    complete     segment i+1 under adapter i
    reconstruct  a window that begins anywhere in segments 0 … i and ends in them, under adapter i
Attention never crosses a segment, so they are rows of a batch. Which rows are in step t follows from seed and t,
so nothing but the step has to be kept, and documents may be any sequence that reads its items when they are asked for.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from composition.errors import CompositionError
from composition.recipes.train_generator import TrainGeneratorRecipe
from composition.training.parallel import Replicas, deal

TRIES = 200
HELD_OUT = "0 held out"
"""The key of the order in which documents are held out."""
RECONSTRUCT, COMPLETE = 0, 1


@dataclass(frozen=True, slots=True)
class Batch:
    """ids [N, W] segments; sums [A, N]: row i picks the segments of adapter i.

    rows [K, W] are learnt, row k under adapter `adapters[k]`, for objective `objectives[k]`. `mask` and `learnt` are
    None where nothing is padded and every token after the first is learnt.
    """

    ids: Tensor
    sums: Tensor
    rows: Tensor
    adapters: Tensor
    objectives: Tensor
    ids_mask: Tensor | None = None
    mask: Tensor | None = None
    learnt: Tensor | None = None

    def to(self, device: torch.device) -> "Batch":
        found = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return replace(self, **{name: t.to(device) for name, t in found.items() if t is not None})

    def share(self, replicas: Replicas) -> "Batch":
        """The rows of this process's documents, dealt out by their number of rows; it may have none."""
        if replicas.size == 1:
            return self
        document = torch.unique(self.sums.argmax(1), return_inverse=True)[1]  # of an adapter: by its first segment
        dealt = deal(torch.bincount(document[self.adapters]).tolist(), replicas.size)
        mine = (torch.tensor(dealt) == replicas.rank)[document]
        segments, rows = mine[self.sums.argmax(0)], mine[self.adapters]
        return Batch(
            ids=self.ids[segments],
            sums=self.sums[mine][:, segments],
            rows=self.rows[rows],
            adapters=(mine.cumsum(0) - 1)[self.adapters[rows]],
            objectives=self.objectives[rows],
            ids_mask=None if self.ids_mask is None else self.ids_mask[segments],
            mask=None if self.mask is None else self.mask[rows],
            learnt=None if self.learnt is None else self.learnt[rows],
        )

    def wanted(self) -> Tensor:
        """[K, W − 1]: whether a row's token after this one is learnt."""
        return torch.ones_like(self.rows[:, 1:], dtype=torch.bool) if self.learnt is None else self.learnt[:, 1:]

    @property
    def tokens(self) -> int:
        """How many tokens of documents were read."""
        return self.ids.numel() if self.ids_mask is None else int(self.ids_mask.sum())


class Documents(Sequence[str]):
    """The `text` of every row of JSONL files, read from the disk when it is asked for: only offsets are in memory."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = [Path(path) for path in paths]
        self.places: list[tuple[int, int]] = []
        for number, path in enumerate(self.paths):
            with path.open("rb") as lines:
                offset = 0
                for line in lines:
                    if line.strip():
                        self.places.append((number, offset))
                    offset += len(line)

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, number: Any) -> Any:
        if isinstance(number, slice):
            return [self[i] for i in range(*number.indices(len(self)))]
        from composition.formats.strict_json import strict_loads

        which, offset = self.places[number]
        with self.paths[which].open("rb") as lines:
            lines.seek(offset)
            row = strict_loads(lines.readline(), area="train", what=f"A row of {self.paths[which].name}")
        if not isinstance(row, dict) or not isinstance(row.get("text"), str):
            raise CompositionError(
                "train.no_text",
                f"{self.paths[which].name} has a row without text. Write one JSON object per line, with the key text.",
            )
        return row["text"]


class Corpus:
    """Documents under a tokenizer; the first `holdout` of one random order are held out of training.

    That order doesn't depend on the recipe's seed: a training that continues another holds out the same documents.
    """

    def __init__(self, tokenizer: Any, documents: Sequence[str], recipe: TrainGeneratorRecipe) -> None:
        if len(documents) < recipe.holdout + 2:
            raise CompositionError(
                "train.few_documents",
                f"{len(documents)} documents were given, and {recipe.holdout} are held out; at least 2 must be left. "
                "Give more, or hold out fewer.",
            )
        self.tokenizer, self.documents, self.recipe = tokenizer, documents, recipe
        order = torch.randperm(len(documents), generator=seeded(HELD_OUT)).tolist()
        self.held, self.kept = sorted(order[: recipe.holdout]), sorted(order[recipe.holdout :])

    def tokens(self, number: int) -> list[int]:
        """The tokens of one document, without special tokens."""
        return self.tokenizer(self.documents[number], add_special_tokens=False, verbose=False)["input_ids"]

    def held_tokens(self) -> list[list[int]]:
        """The held-out documents' tokens."""
        return [self.tokens(number) for number in self.held]

    def batch(self, step: int) -> Batch:
        """The batch of this step, the same in every run. Errors: `train.short_documents`."""
        recipe, window = self.recipe, self.recipe.window(step)
        random, left = seeded(f"{recipe.seed} step {step}"), recipe.batch_tokens // window
        chosen: list[Tensor] = []
        for _ in range(TRIES):
            if left < 2:
                break
            ids = self.tokens(self.kept[_draw(random, len(self.kept))])
            most = min(len(ids) // window, recipe.segments, left)
            if most < 2:
                continue
            count = 2 + _draw(random, most - 1)
            begin = _draw(random, len(ids) - count * window + 1)
            chosen.append(torch.tensor(ids[begin : begin + count * window]).view(count, window))
            left -= count
        if not chosen:
            raise CompositionError(
                "train.short_documents",
                f"None of {TRIES} documents drawn has two segments of {window} tokens. Give longer documents, or use "
                "shorter segments.",
            )
        return build(chosen, random, recipe.objective)

    def digest(self) -> str:
        """SHA-256 of the documents, in their order."""
        seen = hashlib.sha256()
        for number in range(len(self.documents)):
            seen.update(hashlib.sha256(self.documents[number].encode()).digest())
        return seen.hexdigest()


def build(documents: Sequence[Tensor], random: torch.Generator, objective: str = "both") -> Batch:
    """The batch of documents as segments [n, W] each; windows to reconstruct are drawn from `random`."""
    ids, window = torch.cat(list(documents)), documents[0].shape[1]
    sums = torch.zeros(len(ids), len(ids))
    rows: list[Tensor] = []
    adapters: list[int] = []
    objectives: list[int] = []
    first = 0
    for document in documents:
        count, flat = len(document), document.flatten()
        sums[first : first + count, first : first + count] = torch.tril(torch.ones(count, count))
        for i in range(count):
            begin = _draw(random, i * window + 1)
            if objective != "completion":
                rows.append(flat[begin : begin + window])
                adapters.append(first + i)
                objectives.append(RECONSTRUCT)
            if objective != "reconstruction" and i + 1 < count:
                rows.append(document[i + 1])
                adapters.append(first + i)
                objectives.append(COMPLETE)
        first += count
    return Batch(ids, sums, torch.stack(rows), torch.tensor(adapters), torch.tensor(objectives))


def seeded(key: str) -> torch.Generator:
    """A source of random numbers that depends on the key alone."""
    return torch.Generator().manual_seed(int.from_bytes(hashlib.sha256(key.encode()).digest()[:7], "big"))


def _draw(random: torch.Generator, below: int) -> int:
    return int(torch.randint(below, (1,), generator=random))
