"""A pytest plugin: all seeds moved by STABILITY_SEED, and all starting weights by a millionth of themselves.

    STABILITY_SEED=3 python -m pytest -p tests.stability.perturb -m trained

Weights are drawn by `Tensor.normal_`, `uniform_`, `randn` and `rand`. The matrices that these draw are moved by 1e-6,
relative, by noise that follows from seed and shape alone: a model that is made twice is the same model. It stands for
the rounding of another processor, whose first sums differ by about as much. Seeds move for torch's own generator and
for all others.
"""

import os
import sys
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
plain_seed, plain_randn = torch.manual_seed, torch.randn


def moved_seed(number: int) -> torch.Generator:
    return plain_seed(int(number) + STEP * seed)


def perturbed(draw):
    """The drawing function, with a matrix that it drew moved by a millionth; a list of draws is no weight."""

    def function(*args, **more):
        drawn = draw(*args, **more)
        if drawn.dim() > 1 and drawn.is_floating_point() and not drawn.is_meta:
            noise = plain_randn(drawn.shape, generator=PLAIN().manual_seed(seed)).to(drawn)
            with torch.no_grad():
                drawn.mul_(1 + SHARE * noise)
        return drawn

    return function


def reach_children() -> None:
    """Processes that a test starts import this too, when their interpreter starts."""
    root = Path(__file__).resolve().parents[2]
    folder = root / "build" / "stability"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sitecustomize.py").write_text("import tests.stability.perturb\n")
    paths = [str(folder), str(root), os.environ.get("PYTHONPATH", "")]
    os.environ["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)


if "pytest" in sys.modules:
    reach_children()
torch.Generator = Moved
torch.manual_seed = moved_seed
torch.Tensor.normal_ = perturbed(torch.Tensor.normal_)
torch.Tensor.uniform_ = perturbed(torch.Tensor.uniform_)
torch.randn, torch.rand = perturbed(torch.randn), perturbed(torch.rand)
