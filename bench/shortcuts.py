"""Moving an adapter without training: SmolLM2 → a SmolLM2 that was trained further, by PortLLM and by Cross-LoRA.

    python bench/shortcuts.py [--quick] [--json FILE]

The further-trained base is made here: all weights, on the instruction rows of the three other example tasks, AdamW at
1e-5, so that it drifts as a base of a later release does. Arms, exact match on the test rows of `orders`: the adapter
on its own base, the bare new base, PortLLM (unchanged ΔW), Cross-LoRA at the paper's 320 directions and at all of them.
"ours" is the arm, "theirs" the bare new base.
"""

import argparse
import json
import os
import sys
import tempfile
import time
import warnings
from pathlib import Path

for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[variable] = "1"
ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "examples")]
warnings.filterwarnings("ignore")

import torch  # noqa: E402
from base import DEFAULT, ready  # noqa: E402

from composition.formats import read_adapter  # noqa: E402
from composition.recipes import CrossLoraRecipe, EvaluateRecipe, PortLlmRecipe  # noqa: E402
from composition.running.base_models import adapter_attached, load_base, module_shapes  # noqa: E402
from composition.running.evaluation import evaluate  # noqa: E402
from composition.running.prompting import Prompting  # noqa: E402
from composition.weights import save_peft  # noqa: E402
from transfer.distillation import epoch_order  # noqa: E402
from transfer.loss import AnswerLoss, Example  # noqa: E402
from transfer.shortcuts.cross_lora import cross_lora  # noqa: E402
from transfer.shortcuts.portllm import portllm  # noqa: E402

torch.set_num_threads(1)
TASK, OTHERS = "orders", ("triage", "mood", "dates")
ADAPTER = ROOT / "examples" / "adapters" / TASK
NAME = "bench/smollm2-further"


def rows_of(task: str, split: str) -> list[dict]:
    text = (ROOT / "examples" / "data" / task / f"{split}.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def train_further(source: Path, folder: Path, steps: int, rate: float = 1e-5) -> float:
    """Save the base after `steps` steps of full training; the relative change ‖W' − W‖ / ‖W‖ of all weights."""
    model, tokenizer = load_base(source)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    prompting = Prompting(tokenizer, model.generation_config)
    examples = []
    for task in OTHERS:
        for row in rows_of(task, "train")[:160]:
            answer = prompting.answer(row["completion"])
            examples.append(Example([*prompting.prompt(row["prompt"]), *answer], [True] * len(answer)))
    loss, order = AnswerLoss(model, examples, tokenizer.pad_token_id or 0), epoch_order(len(examples), 8, 0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.0)
    for step in range(steps):
        batch = [examples[place] for place in order(step)]
        loss(batch, sum(len(row.learnt) for row in batch), 0.0).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    with torch.no_grad():
        moved = sum(float((p - before[name]).square().sum()) for name, p in model.named_parameters())
        whole = sum(float(tensor.square().sum()) for tensor in before.values())
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return (moved / whole) ** 0.5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="three steps and 16 test rows, about a minute")
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    options = parser.parse_args()
    steps, limit = (3, 16) if options.quick else (60, 300)
    source = ready(DEFAULT)
    measure = EvaluateRecipe(metrics=("exact_match",), max_new_tokens=16, batch_size=32, limit=limit)
    test, adapter = rows_of(TASK, "test"), read_adapter(ADAPTER)
    table, bare = [], 0.0
    with tempfile.TemporaryDirectory() as made:
        root = Path(made)
        drift = train_further(source, root / "further", steps)
        shapes = module_shapes(json.loads((root / "further" / "config.json").read_text()))
        bases = {"source": source, "target": root / "further"}
        arms = {
            "target base": ("target", lambda: None),
            "source adapter": ("source", lambda: ADAPTER),
            "PortLLM": ("target", lambda: portllm([adapter], PortLlmRecipe(), base_name=NAME, shapes=shapes)),
            "Cross-LoRA, 320": ("target", lambda: cross_lora([adapter], CrossLoraRecipe(), base_name=NAME, **bases)),
            "Cross-LoRA, all": (
                "target",
                lambda: cross_lora([adapter], CrossLoraRecipe(subspace=65_536), base_name=NAME, **bases),
            ),
        }
        print(f"{steps} further steps, relative change of the weights {drift:.4f}", flush=True)
        for arm, (which, make) in arms.items():
            start, folder = time.process_time(), make()
            seconds = time.process_time() - start
            if folder is not None and not isinstance(folder, Path):
                save_peft(folder.weights, root / "moved")
                folder = root / "moved"
            model, tokenizer = load_base(bases[which])
            if folder is None:
                right = bare = evaluate(model, tokenizer, test, measure).metrics["exact_match"]
            else:
                with adapter_attached(model, folder) as adapted:
                    right = evaluate(adapted, tokenizer, test, measure).metrics["exact_match"]
            print(f"{arm:16} {right:.3f}   moved in {seconds:.1f} CPU s", flush=True)
            table.append({"case": arm, "peer": "target base", "ours": right, "theirs": bare, "unit": "exact match",
                          "ratio": right / bare if bare else None, "drift": drift, "cpu_seconds": seconds})  # fmt: skip
    if options.json:
        options.json.write_text(json.dumps(table, indent=1) + "\n")


if __name__ == "__main__":
    main()
