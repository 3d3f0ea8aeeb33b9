"""What a generated adapter knows of its text, on packages that training never saw.

    python bench/generative.py [--generator FOLDER] [--quick] [--json FILE]

A document is a context of 64, 256 or 1,024 tokens and the 64 tokens after it. Loss, in nats a token over the same
tokens in every arm, of the continuation and of the context itself (reconstruction) under
    own        the adapter generated from the context                                                      "ours"
    none       the bare base                        other      the adapter generated from another document: the control
    prompt     the context before it                ceiling    other's adapter and the context before it
    tuned      a LoRA fine-tuned on the context for the CPU time that generating took, at least one step
gap closed = (other − own) / (other − ceiling). Goals: 0.7 on completion; reconstruction at most half of the control's.
With --where nothing is fine-tuned; the continuation's tokens are split up, and each part is shown with its share of all
that could be closed: the first four, which follow a cut in mid-sentence; those that the context has; those that it
has not.
Seeds draw the documents; a figure is the mean over seeds, its error the standard error over them. One thread. The text
is the one of examples/generator_data.py.
"""

import argparse
import json
import os
import statistics
import sys
import time
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[variable] = "1"
ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "examples")]

import torch  # noqa: E402
from base import add_base_option, ready  # noqa: E402
from generator_data import DOMAINS, write  # noqa: E402
from peft import LoraConfig, get_peft_model  # noqa: E402

from composition.generative import Generator, adapter_of, load_generator  # noqa: E402
from composition.generative.encode import read  # noqa: E402
from composition.generative.measure import CONTINUATION, by_token, gap, held_out, loss  # noqa: E402
from composition.generative.segments import Documents, seeded  # noqa: E402
from composition.recipes import GenerateRecipe  # noqa: E402
from composition.running.base_models import load_base  # noqa: E402

warnings.filterwarnings("ignore")
torch.set_num_threads(1)
BUILD = ROOT / "build" / "generator"
PEERS = {
    "none": "the bare base",
    "other": "another document's adapter",
    "prompt": "full text in the prompt",
    "ceiling": "another's adapter and the full text",
    "tuned": "LoRA fine-tuned for the same time",
}
GOALS = {"completion": 0.7, "reconstruction": 0.5}
FIRST = 4
RATE = 2e-3
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def long_documents(tokenizer: Any, path: Path, length: int, count: int, seed: int) -> list[list[int]]:
    """`count` documents of at least so many tokens, cut to them, drawn by the seed."""
    documents, found = Documents([path]), []
    for number in torch.randperm(len(documents), generator=seeded(f"{seed} {path.stem}")).tolist():
        text = documents[number]
        if len(text) >= 2 * length:
            ids = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
            if len(ids) >= length:
                found.append(ids[:length])
        if len(found) == count:
            break
    return found


def tuned(base: Any, generator: Generator, ids: list[int], context: int, window: int) -> dict[str, float]:
    """{"reconstruction": loss, "completion": loss} after fine-tuning for as long as generating takes."""
    text = ids[:context]
    start = time.thread_time()
    with torch.no_grad():
        adapter_of(generator, read(base, generator, text, GenerateRecipe(window=window)), base)
    budget = time.thread_time() - start
    model = get_peft_model(base, LoraConfig(r=8, lora_alpha=16, target_modules=TARGETS, task_type="CAUSAL_LM"))
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=RATE, weight_decay=0.0)
    row, start = torch.tensor([text]), time.thread_time()
    try:
        while time.thread_time() - start < budget:
            model(input_ids=row, labels=row).loss.backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        whole = torch.tensor(ids)
        return {
            "reconstruction": loss(base, None, None, whole[:context], 1),
            "completion": loss(base, None, None, whole[context:], 1),
        }
    finally:
        model.unload()
        if hasattr(base, "peft_config"):
            del base.peft_config


def figures(
    base: Any, tokenizer: Any, generator: Generator, path: Path, context: int, count: int, seed: int, *, window: int
) -> dict[str, dict[str, float]]:
    """{"reconstruction", "completion": {arm: mean loss}} of one seed's documents."""
    documents = long_documents(tokenizer, path, context + CONTINUATION, count, seed)
    rows = held_out(base, generator, documents, context, window=window)
    for ids in documents if rows else []:
        for name, value in tuned(base, generator, ids, context, window).items():
            rows[name]["tuned"] = rows[name].get("tuned", 0.0) + value / len(documents)
    return rows


def parted(base: Any, generator: Generator, documents: list[list[int]], context: int) -> dict[str, dict[str, float]]:
    """{part of the continuation's tokens: {arm: mean loss, "tokens": how many, "share": of what could be closed}}."""
    arms = by_token(base, generator, documents, context, objectives=("completion",))["completion"]
    known = torch.stack([torch.isin(ids[context + 1 :], ids[:context]) for ids in torch.tensor(documents)])
    possible = arms["other"] - arms["ceiling"]
    begins = (torch.arange(known.shape[1]) < FIRST).expand_as(known)
    parts = {
        "all": torch.ones_like(known),
        f"first {FIRST} tokens": begins,
        "in the context": ~begins & known,
        "not in the context": ~begins & ~known,
    }
    return {
        name: {
            **{arm: float(rows[chosen].mean()) for arm, rows in arms.items()},
            "tokens": int(chosen.sum()),
            "share": float(possible[chosen].sum() / possible.sum()),
        }
        for name, chosen in parts.items()
    }


def tell_parts(case: str, parts: dict[str, dict[str, float]]) -> None:
    """A line for each part."""
    for name, row in parts.items():
        told = "  ".join(f"{arm} {row[arm]:.2f}" for arm in ("none", "other", "own", "prompt", "ceiling"))
        shown = f"gap closed {gap(row):5.2f}  {row['share']:.0%} of the possible, {row['tokens']:,} tokens"
        print(f"{case}, {name:18}  {told}  {shown}", flush=True)


def table(case: str, seeds: list[dict[str, float]], name: str) -> list[dict[str, Any]]:
    """Rows of one objective: our loss beside every peer's, and the goal."""
    mean = {arm: statistics.mean(row[arm] for row in seeds) for arm in seeds[0]}
    gaps = [gap(row) for row in seeds]
    error = statistics.stdev(gaps) / len(gaps) ** 0.5 if len(gaps) > 1 else 0.0
    rows = [
        {"case": case, "peer": peer, "ours": mean["own"], "theirs": mean[arm], "unit": "nats a token"}
        for arm, peer in PEERS.items()
    ]
    for row in rows:
        row["ratio"] = row["theirs"] / row["ours"]
    closed = statistics.mean(gaps)
    rows.append(
        {"case": f"{case}, gap closed ± {error:.2f}", "peer": "goal", "ours": closed, "theirs": 0.7, "unit": ""}
    )
    rows[-1]["ratio"] = closed / 0.7
    if name == "reconstruction":
        half = {"case": f"{case}, own", "peer": "goal: half of the control's", "ours": mean["own"]}
        rows[-1] = {
            **half,
            "theirs": mean["other"] / 2,
            "unit": "nats a token",
            "ratio": mean["other"] / 2 / mean["own"],
        }
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_base_option(parser)
    parser.add_argument("--generator", type=Path, default=ROOT / "examples" / "generator", help="its folder")
    parser.add_argument("--documents", type=int, default=24, help="a seed, domain and length")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32", help="of the base")
    parser.add_argument("--window", type=int, help="tokens of a chunk; by default the context is read in one")
    parser.add_argument("--contexts", type=int, nargs="+", default=[64, 256, 1024])
    parser.add_argument("--strength", type=float, default=1.0, help="what every adapter's scale is multiplied by")
    parser.add_argument("--where", action="store_true", help="part the continuation's tokens, and nothing else")
    parser.add_argument("--quick", action="store_true", help="four documents, one seed, 64 tokens")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows as JSON")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.documents, arguments.seeds, arguments.contexts = 4, 1, [64]
    if not (arguments.generator / "generator_config.json").exists():
        print(f"no generator in {arguments.generator}; train one: python examples/train_generator.py")
        return
    files = write(BUILD / "data")
    base, tokenizer = load_base(ready(arguments.base), arguments.precision)
    base.requires_grad_(False)
    generator = load_generator(arguments.generator)
    generator.config = replace(generator.config, alpha=generator.config.alpha * arguments.strength)
    rows: list[dict[str, Any]] = []
    for domain in DOMAINS:
        for context in arguments.contexts:
            path = files[f"{domain}-held"]
            if arguments.where:
                documents = long_documents(tokenizer, path, context + CONTINUATION, arguments.documents, 0)
                tell_parts(f"{domain}, {context:,}", parted(base, generator, documents, context))
                continue
            seeds = [
                figures(
                    base,
                    tokenizer,
                    generator,
                    path,
                    context,
                    arguments.documents,
                    seed,
                    window=min(arguments.window or context, context),
                )
                for seed in range(arguments.seeds)
            ]
            for name in GOALS:
                found = table(f"{domain}, {context:,} tokens, {name}", [seed[name] for seed in seeds], name)
                rows += found
                for r in found:
                    shown = f"{r['ours']:7.3f} {r['theirs']:7.3f} {r['ratio']:6.2f}×  {r['unit']}"
                    print(f"{r['case']:55} {r['peer']:37} {shown}", flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
