"""Eight toy tasks, eight LoRAs, one mixture: does a trained router come near to each task's own adapter?

    python bench/moe_toy.py [--quick] [--json FILE]

A 3-layer llama of width 64 learns one successor for each of 40 words. Every task permutes the successors of 16 words in
its own way and says who it is by its first word only, so a token alone hardly tells its task: hard for a router that
looks at tokens. One rank-8 LoRA is trained for each task, then the mixtures are assembled by this project's own code
and trained on 64 rows a task. Figures are held-out nats a token, the mean of the tasks; "ours" of every case against
the uniform average of the LoRAs (`peer`), with the oracle, each task's own LoRA, beside it.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[variable] = "1"
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch  # noqa: E402
from peft import LoraConfig, get_peft_model  # noqa: E402
from transformers import LlamaConfig, LlamaForCausalLM  # noqa: E402

from composition.formats import read_adapter  # noqa: E402
from composition.moe.assemble import assemble  # noqa: E402
from composition.moe.save import save_assembly  # noqa: E402
from composition.moe.train import train_assembly  # noqa: E402
from composition.moe.unstack import cat_of  # noqa: E402
from composition.recipes import EvaluateRecipe, MeteoraRecipe, SmoraRecipe  # noqa: E402
from composition.running.base_models import adapter_attached  # noqa: E402
from composition.running.evaluation import evaluate  # noqa: E402
from composition.weights import LoraWeights, save_peft  # noqa: E402

torch.set_num_threads(1)
TASKS, WORDS, MOVED, LENGTH, FIRST = 8, 40, 16, 12, 3
LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
STEPS = 250

CASES = {
    "MeteoRA, prototypes, no data": MeteoraRecipe(train="prototype"),
    "MeteoRA top-1": MeteoraRecipe(top_k=1),
    "MeteoRA top-1, prototype start": MeteoraRecipe(top_k=1, start="prototype"),
    "MeteoRA top-2": MeteoraRecipe(),
    "MeteoRA top-2, prototype start": MeteoraRecipe(start="prototype"),
    "MeteoRA top-2, β = 1": MeteoraRecipe(gate_loss=1.0),
    "MeteoRA top-2, LM loss only": MeteoraRecipe(gate_loss=0.0),
    "MeteoRA top-2, experts trained": MeteoraRecipe(train="experts"),
    "MeteoRA top-2, experts, β = 50": MeteoraRecipe(train="experts", gate_loss=50.0),
    "SMoRA, prototypes, no data": SmoraRecipe(train="prototype"),
    "SMoRA router": SmoraRecipe(),
    "SMoRA router, prototype start": SmoraRecipe(start="prototype"),
    "SMoRA router, svd basis": SmoraRecipe(rank_basis="svd"),
    "SMoRA router, u = 1e-3": SmoraRecipe(bias_update=1e-3),
    "SMoRA full": SmoraRecipe(train="full"),
}
QUICK = ("MeteoRA, prototypes, no data", "MeteoRA top-2", "SMoRA router")


class Words:
    """The smallest tokenizer there is: a word is its number."""

    eos_token_id = bos_token_id = chat_template = None
    pad_token_id = 0

    def __call__(self, text: str, add_special_tokens: bool = True) -> dict[str, list[int]]:
        return {"input_ids": [int(word) for word in text.split()]}

    def decode(self, ids, skip_special_tokens: bool = False) -> str:
        return " ".join(str(int(i)) for i in ids)


def successors(task: int | None) -> torch.Tensor:
    """[40]: the word that follows each word; None is the base's own order."""
    base = torch.randperm(WORDS, generator=torch.Generator().manual_seed(1))
    if task is None:
        return base
    generator = torch.Generator().manual_seed(100 + task)
    moved = torch.randperm(WORDS, generator=generator)[:MOVED]
    changed = base.clone()
    changed[moved] = base[moved.roll(1)]
    return changed


def sequences(task: int, count: int, seed: int, order: torch.Tensor) -> torch.Tensor:
    """[count, 2 + LENGTH]: the task's mark, a word, and its successors."""
    words = [torch.randint(WORDS, (count,), generator=torch.Generator().manual_seed(seed))]
    for _ in range(LENGTH):
        words.append(order[words[-1]])
    mark = torch.full((count, 1), FIRST + WORDS + task)
    return torch.cat([mark, torch.stack(words, 1) + FIRST], 1)


def rows(task: int, count: int, seed: int) -> list[dict[str, str]]:
    """The same as a dataset's rows."""
    return [
        {"prompt": " ".join(map(str, line[:2])), "completion": " ".join(map(str, line[2:]))}
        for line in sequences(task, count, seed, successors(task)).tolist()
    ]


def fit(model, batch_of, steps: int, rate: float) -> None:
    """Train what can be trained on whole sequences, from the second word on."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=rate, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps)
    for step in range(steps):
        ids = batch_of(step)
        logits = model(input_ids=ids, use_cache=False).logits[:, 1:-1]
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 2:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()


def make_base(steps: int = 300) -> LlamaForCausalLM:
    """The base, which knows its own order under every mark."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=FIRST + WORDS + TASKS,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=3,
        num_attention_heads=4,
        max_position_embeddings=64,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=0,
    )
    model = LlamaForCausalLM(config)
    order = successors(None)
    marks = torch.randint(TASKS, (steps,), generator=torch.Generator().manual_seed(2)).tolist()
    fit(model, lambda step: sequences(marks[step], 32, step, order), steps, 3e-3)
    return model.eval().requires_grad_(False)


def make_expert(base: LlamaForCausalLM, task: int, folder: Path, steps: int = 300) -> LoraWeights:
    """A rank-8 LoRA for one task."""
    torch.manual_seed(10 + task)
    config = LoraConfig(r=8, lora_alpha=16, target_modules=LINEAR, task_type="CAUSAL_LM")
    model = get_peft_model(base, config)
    fit(model, lambda step: sequences(task, 32, 1000 * task + step, successors(task)), steps, 5e-3)
    model.peft_config["default"].base_model_name_or_path = "toy/base"
    model.save_pretrained(folder, save_embedding_layers=False)
    model.unload()
    base.__dict__.pop("peft_config", None)
    return read_adapter(folder)


def nll(model, task: int) -> float:
    """Held-out nats a token of one task."""
    recipe = EvaluateRecipe(metrics=("nll",), batch_size=64)
    return evaluate(model, Words(), rows(task, 64, 90_000 + task), recipe).metrics["nll"]


def mean_nll(model, tasks: int) -> float:
    return sum(nll(model, task) for task in range(tasks)) / tasks


def with_lora(base, weights: LoraWeights, folder: Path, tasks: list[int]) -> float:
    """The mean over some tasks with one plain LoRA attached."""
    save_peft(weights, folder)
    with adapter_attached(base, folder) as model:
        return sum(nll(model, task) for task in tasks) / len(tasks)


def mixture(base, experts: list[LoraWeights], recipe, data, folder: Path) -> tuple[float, float, dict]:
    """(held-out nats before, after training, router.json)."""
    draft = assemble(experts, recipe)
    save_assembly(draft, folder / "draft", draft=True)
    with adapter_attached(base, folder / "draft") as model:
        before = mean_nll(model, len(experts))
    if not recipe.trains:
        return before, before, {}
    result = train_assembly(base, Words(), draft, recipe, data, work=folder / "work")
    save_assembly(result, folder / "done")
    with adapter_attached(base, folder / "done") as model:
        return before, mean_nll(model, len(experts)), result.router


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="four tasks and three mixtures, under a minute")
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    parser.add_argument("--rate", type=float, help="learning rate in place of the recipes' own")
    parser.add_argument("--only", help="only cases whose name holds this")
    options = parser.parse_args()
    tasks = 4 if options.quick else TASKS
    chosen = {n: r for n, r in CASES.items() if (n in QUICK or not options.quick) and (options.only or "") in n}
    table = []
    with tempfile.TemporaryDirectory() as made:
        root = Path(made)
        base = make_base()
        experts = [make_expert(base, task, root / f"task{task}") for task in range(tasks)]
        data = {experts[task].name: rows(task, 64, 50_000 + task) for task in range(tasks)}
        oracle = sum(with_lora(base, e, root / "one", [t]) for t, e in enumerate(experts)) / tasks
        save_assembly(assemble(experts, MeteoraRecipe(train="prototype")), root / "all")
        average = with_lora(base, cat_of(root / "all", weight=1 / tasks), root / "mean", list(range(tasks)))
        print(f"{tasks} tasks, held-out nats a token: base {mean_nll(base, tasks):.3f}, average {average:.3f}, "
              f"oracle {oracle:.4f}")  # fmt: skip
        print(f"{'mixture':36} {'before':>8} {'after':>8} {'gate acc.':>9} {'own share':>9} {'seconds':>8}")
        for number, (name, recipe) in enumerate(chosen.items()):
            changes = {"steps": STEPS} | ({"learning_rate": options.rate} if options.rate else {})
            recipe = type(recipe)(
                **{k: v for k, v in (recipe.to_dict() | changes).items() if k not in ("kind", "version")}
            )
            start = time.process_time()
            before, after, record = mixture(base, experts, recipe, data, root / f"case{number}")
            seconds = time.process_time() - start
            accuracy = f"{record['curve'][-1].get('gate_accuracy', float('nan')):9.2f}" if record else " " * 9
            own = [t["own_share"] for t in record["held_out"]["after"].values()] if record else []
            share = f"{sum(own) / len(own):9.2f}" if own else " " * 9
            print(f"{name:36} {before:8.3f} {after:8.3f} {accuracy} {share} {seconds:8.1f}", flush=True)
            table.append({"case": f"toy of {tasks} tasks: {name}", "peer": "uniform average", "ours": after,
                          "theirs": average, "unit": "nats a token", "ratio": average / after,
                          "oracle": oracle, "untrained": before})  # fmt: skip
    if options.json:
        options.json.write_text(json.dumps(table, indent=1) + "\n")


if __name__ == "__main__":
    main()
