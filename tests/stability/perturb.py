"""A pytest plugin: all seeds moved by STABILITY_SEED, and all starting weights by a millionth of themselves.

    STABILITY_SEED=3 python -m pytest -p tests.stability.perturb -m trained

Weights are drawn by `Tensor.normal_` and `uniform_`. What they drew is moved by 1e-6, relative, by noise that follows
from seed and shape alone: a model that is made twice is the same model. It stands for the rounding of another
processor, whose first sums differ by about as much. Seeds move for torch's own generator and for all others.
"""

import os
import sys
import tempfile
from pathlib import Path

import torch

from tests.stability.margins import SEED

SHARE = 1e-6
STEP = 1_000_003
seed = int(os.environ[SEED])


class Moved(torch.Generator):
    """A generator whose seeds are all moved."""

    def manual_seed(self, number: int) -> torch.Generator:
        return super().manual_seed(number + STEP * seed)


PLAIN = torch.Generator
plain_seed = torch.manual_seed


def moved_seed(number: int) -> torch.Generator:
    return plain_seed(int(number) + STEP * seed)


def perturbed(draw):
    """The drawing method, with what it drew moved by a millionth."""

    def method(self, *args, **more):
        drawn = draw(self, *args, **more)
        if drawn.is_floating_point() and not drawn.is_meta:
            noise = torch.randn(drawn.shape, generator=PLAIN().manual_seed(seed)).to(drawn)
            with torch.no_grad():
                drawn.mul_(1 + SHARE * noise)
        return drawn

    return method


def reach_children() -> None:
    """Processes that a test starts import this too, when their interpreter starts."""
    folder = Path(tempfile.gettempdir()) / f"stability-{os.getuid()}"
    folder.mkdir(exist_ok=True)
    (folder / "sitecustomize.py").write_text("import tests.stability.perturb\n")
    root = str(Path(__file__).resolve().parents[2])
    os.environ["PYTHONPATH"] = os.pathsep.join([str(folder), root, os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)


if "pytest" in sys.modules:
    reach_children()
torch.Generator = Moved
torch.manual_seed = moved_seed
torch.Tensor.normal_ = perturbed(torch.Tensor.normal_)
torch.Tensor.uniform_ = perturbed(torch.Tensor.uniform_)
