"""What it costs that a generator reads a text without the beginning-of-sequence token (BOS) that many bases expect.

    python bench/bos.py build/bases/gemma3-270m [--window 256] [--json FILE]

For the first window of each page of docs/, read by the bare base with BOS before it, without, and with one ordinary
token in BOS's place (what any other first token changes): nats a token from the second on, and the cosine of a state's
directions M to those with BOS, the first token's own share left out. A1, A2, A3 are random: no generator was trained.
"""

import argparse
import json
import os
import sys
from pathlib import Path

for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")
ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402

from composition.generative.encode import layer_states  # noqa: E402
from composition.generative.layer import Generator  # noqa: E402
from composition.generative.train import base_norms, linear_shapes  # noqa: E402
from composition.recipes import TrainGeneratorRecipe  # noqa: E402
from composition.running.base_models import load_base  # noqa: E402


@torch.no_grad()
def read(base, generator: Generator, ids: list[int], skipped: int) -> tuple[float, torch.Tensor]:
    """(nats a token after the text's first, M [L, R1, R2] of all tokens but the first `skipped`)."""
    row = torch.tensor([ids])
    mask = torch.ones_like(row)
    mask[:, :skipped] = 0
    states = _states(base, generator, row, mask)
    logits = base(input_ids=row).logits[0, skipped:-1].float()
    return float(torch.nn.functional.cross_entropy(logits, row[0, skipped + 1 :])), generator.directions(states)[0]


def _states(base, generator: Generator, row: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """S [1, L, R1, R2] of the tokens whose mask is 1; attention sees all of them."""
    whole = generator.state
    generator.state = lambda layer, h, _: whole(layer, h, mask)  # type: ignore[method-assign]
    try:
        return layer_states(base, generator, row)
    finally:
        del generator.state


def cosine(one: torch.Tensor, other: torch.Tensor) -> float:
    """Mean over layers."""
    return float(torch.cosine_similarity(one.flatten(1), other.flatten(1)).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base", type=Path)
    parser.add_argument("--window", type=int, default=256)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    base, tokenizer = load_base(options.base)
    bos = tokenizer.bos_token_id
    recipe = TrainGeneratorRecipe(inner=128, r=128, rank=32)
    config = recipe.config_for("bench", linear_shapes(base))
    generator = Generator(config).start(0, base_norms(base, config)).requires_grad_(False)
    told = {name: {"nats": [], "cosine": []} for name in ("BOS", "none", "a comma")}
    comma = tokenizer(",", add_special_tokens=False)["input_ids"][0]
    for page in sorted((ROOT / "docs").glob("*.md")):
        ids = tokenizer(page.read_text(), add_special_tokens=False)["input_ids"][: options.window]
        wanted = None
        for name, first in (("BOS", [bos]), ("none", []), ("a comma", [comma])):
            nats, directions = read(base, generator, first + ids, len(first))
            wanted = directions if wanted is None else wanted
            told[name]["nats"].append(nats)
            told[name]["cosine"].append(cosine(directions, wanted))
    pages = len(told["BOS"]["nats"])
    print(f"{options.base.name}, {pages} pages, {options.window} tokens each, first token {tokenizer.bos_token!r}")
    rows = []
    for name, figures in told.items():
        nats, close = (sum(figures[key]) / pages for key in ("nats", "cosine"))
        print(f"{name:10} {nats:7.3f} nats a token   cosine of M to BOS's {close:6.3f}")
        case = f"{options.base.name}, {name} before a text"
        usual = sum(told["BOS"]["nats"]) / pages
        rows.append({"case": case, "peer": "BOS", "ours": nats, "theirs": usual, "unit": "nats", "ratio": usual / nats})
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
