"""What a text leaves in a generator: one matrix a layer, which adds up over texts and can be subtracted again.

    S(a and b) = S(a) + S(b),      S(a and b) − S(b) = S(a)

A state is kept in float64: the normalisation raises the weakest direction of a text to the strength of the strongest,
and float32's rounding of a sum would be raised with it. Kept as one safetensors file, S [L, R1, R2].
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from composition.errors import CompositionError
from composition.formats.safetensors_writer import replace_file, safetensors_header, tensor_bytes

KEY = "state"
NOTHING = 1e-9


@dataclass(frozen=True, slots=True)
class State:
    """S [L, R1, R2] float64, how many tokens went in, and the digest of the generator that it belongs to.

    `composition.generative.encode.read` makes one from a text's tokens.
    """

    S: Tensor
    tokens: int
    generator: str

    @classmethod
    def zero(cls, generator: Any) -> "State":
        """The state of no text: all zeros."""
        config = generator.config
        return cls(torch.zeros(len(config.modules), config.inner, config.r, dtype=torch.float64), 0, generator.digest())

    def __add__(self, other: "State") -> "State":
        self._check(other, "added to")
        return State(self.S + other.S, self.tokens + other.tokens, self.generator)

    def __sub__(self, other: "State") -> "State":
        self._check(other, "subtracted from")
        if other.tokens > self.tokens:
            raise CompositionError(
                "state.more_than_all",
                f"A state of {other.tokens:,} tokens can't be subtracted from one of {self.tokens:,}. "
                "Subtract only a text that was added before.",
            )
        S = self.S - other.S
        if self.tokens == other.tokens:
            if S.norm() > NOTHING * self.S.norm():
                raise CompositionError(
                    "state.not_part",
                    "Both states have the same number of tokens, but of different texts. Subtract only a text that was "
                    "added before.",
                )
            S = torch.zeros_like(S)  # The rounding error left over would be normalised to full strength.
        return State(S, self.tokens - other.tokens, self.generator)

    def save(self, path: Path) -> None:
        """One safetensors file; equal states give equal bytes."""
        notes = json.dumps({"generator": self.generator, "tokens": self.tokens}, sort_keys=True)
        header = safetensors_header({KEY: (torch.float64, tuple(self.S.shape))}, {KEY: notes})
        replace_file(path, iter([header, tensor_bytes(self.S, torch.float64, KEY)]))

    @classmethod
    def load(cls, path: Path) -> "State":
        """Read what `save` wrote. Errors: `state.unreadable`."""
        try:
            with safe_open(path, framework="pt") as source:
                notes, S = json.loads(source.metadata()[KEY]), source.get_tensor(KEY)
            if S.ndim != 3 or S.dtype != torch.float64 or not torch.isfinite(S).all():
                raise ValueError(f"S is {list(S.shape)} of {S.dtype}")
            return cls(S, int(notes["tokens"]), str(notes["generator"]))
        except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
            raise CompositionError(
                "state.unreadable",
                f"{path.name} is not a state of a generator: {error}. Give a file that State.save wrote.",
            ) from error

    def _check(self, other: "State", verb: str) -> None:
        if self.generator != other.generator or self.S.shape != other.S.shape:
            raise CompositionError(
                "state.other_generator",
                f"A state of generator {other.generator[:12]} can't be {verb} one of {self.generator[:12]}. "
                "Read both texts with the same generator.",
            )
