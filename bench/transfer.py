"""Trans-LoRA's stages against the plain way: one prompt at a time through `generate`, and peft with a Trainer.

    python bench/transfer.py [--quick] [--json FILE]

SmolLM2-135M-Instruct with the example adapter `orders`, one thread a side, CPU seconds. Synthesis: 64 continuations of
one numbered list, sampled at temperature 0.7 and top-p 0.95, to their line break. Labelling: greedy answers with the
adapter attached. Training: a rank-8 LoRA on queries and values, batches of 8 rows, loss on answers alone; the peer is
transformers' Trainer with its own padding collator. Sides take turns on the same rows; the median ratio is reported.

"""

import argparse
import json
import os
import statistics
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
from peft import get_peft_model  # noqa: E402

from composition.recipes import TransLoraRecipe  # noqa: E402
from composition.running.base_models import adapter_attached, load_base  # noqa: E402
from composition.running.prompting import Prompting  # noqa: E402
from transfer.adapters import lora_config, trainable  # noqa: E402
from transfer.labelling import Labels  # noqa: E402
from transfer.loss import Example  # noqa: E402
from transfer.synthesis import Candidates  # noqa: E402
from transfer.training import Plan, fit  # noqa: E402

torch.set_num_threads(1)
ADAPTER = ROOT / "examples" / "adapters" / "orders"
RECIPE = {"temperature": 0.7, "top_p": 0.95, "max_new_tokens": 40, "synthesis_batch": 64, "similarity": 1.0}


def rows() -> list[dict]:
    text = (ROOT / "examples" / "data" / "orders" / "train.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def timed(work) -> tuple[float, int]:
    """(CPU seconds, what `work` counted)."""
    start = time.process_time()
    count = work()
    return time.process_time() - start, count


def synthesis(model, tokenizer, alone: int) -> list[tuple[float, float]]:
    """Inputs a second, ours and theirs, once."""
    seeds = [row["prompt"] for row in rows()[:5]]

    def ours() -> int:
        with tempfile.TemporaryDirectory() as folder:
            load = lambda: (model, tokenizer)  # noqa: E731
            stream = Candidates(load, "bench", seeds, TransLoraRecipe(**RECIPE), 0, Path(folder) / "c.json")
            stream.ensure(10**6, RECIPE["synthesis_batch"])
            return stream.counted(10**6).tries

    def theirs() -> int:
        from transfer.numbered_list import frame_of, list_prompt

        frame = frame_of(seeds)
        ids = tokenizer(list_prompt([frame.item(seed) for seed in seeds], frame), return_tensors="pt")
        torch.manual_seed(0)
        for _ in range(alone):
            model.generate(**ids, do_sample=True, temperature=0.7, top_p=0.95, top_k=0, max_new_tokens=40,
                           stop_strings=["\n"], tokenizer=tokenizer)  # fmt: skip
        return alone

    return rates(ours, theirs)


def labelling(model, tokenizer, count: int, alone: int) -> list[tuple[float, float]]:
    """Answers a second, ours and theirs, once."""
    texts = [row["prompt"] for row in rows()[:count]]

    def ours() -> int:
        with tempfile.TemporaryDirectory() as folder:
            labels = Labels(lambda: (model, tokenizer), ADAPTER, "bench", texts, answer_tokens=16, batch=32,
                            scored=False, key="", path=Path(folder) / "l.json")  # fmt: skip
            return len(labels.run()[0])

    def theirs() -> int:
        prompting = Prompting(tokenizer, model.generation_config)
        with adapter_attached(model, ADAPTER) as teacher:
            for text in texts[:alone]:
                teacher.generate(input_ids=torch.tensor([prompting.prompt(text)]), do_sample=False, max_new_tokens=16)
        return alone

    return rates(ours, theirs)


def training(model, tokenizer, steps: int) -> list[tuple[float, float]]:
    """Tokens of the rows a second, ours and theirs, once."""
    prompting = Prompting(tokenizer, model.generation_config)
    picked = [prompting.row(row) for row in rows()[: 8 * steps]]
    tokens = sum(len(row.prompt) + len(row.completion) for row in picked)
    pad = tokenizer.pad_token_id or 0

    def ours() -> int:
        examples = [Example([*row.prompt, *row.completion], [True] * len(row.completion)) for row in picked]
        order = lambda step: list(range(8 * step, 8 * step + 8))  # noqa: E731
        plan = Plan(steps=steps, epoch=steps, rate=2e-4, order=order, rows_at_once=8, pad=pad)
        with (
            tempfile.TemporaryDirectory() as folder,
            trainable(model, lora_config(8, 16.0, "q_proj,v_proj"), 0) as adapted,
        ):
            fit(adapted, examples, [], plan, state=Path(folder), key="")
        return tokens

    def theirs() -> int:
        from transformers import DataCollatorForSeq2Seq, Trainer, TrainingArguments

        data = [
            {"input_ids": [*r.prompt, *r.completion], "attention_mask": [1] * (len(r.prompt) + len(r.completion)),
             "labels": [-100] * len(r.prompt) + r.completion}
            for r in picked
        ]  # fmt: skip
        adapted = get_peft_model(model, lora_config(8, 16.0, "q_proj,v_proj"))
        with tempfile.TemporaryDirectory() as folder:
            settings = TrainingArguments(folder, max_steps=steps, per_device_train_batch_size=8, learning_rate=2e-4,
                                         lr_scheduler_type="linear", weight_decay=0.0, report_to=[], save_strategy="no",
                                         disable_tqdm=True, logging_strategy="no", use_cpu=True)  # fmt: skip
            Trainer(adapted, settings, train_dataset=data,
                    data_collator=DataCollatorForSeq2Seq(tokenizer, pad_to_multiple_of=None)).train()  # fmt: skip
        adapted.unload()
        return tokens

    return rates(ours, theirs)


def rates(ours, theirs) -> list[tuple[float, float]]:
    pair = []
    for side in (ours, theirs):
        seconds, count = timed(side)
        pair.append(count / seconds)
    return [(pair[0], pair[1])]


def base() -> tuple[str, object, object]:
    """(how the case calls it, model, tokenizer)."""
    folder = ready(DEFAULT)
    model, tokenizer = load_base(folder)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return "SmolLM2-135M", model, tokenizer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one round of each, under a minute")
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    options = parser.parse_args()
    name, model, tokenizer = base()
    rounds, alone, steps = (1, 4, 2) if options.quick else (3, 16, 6)
    cases = [
        ("synthesis", "generate, one at a time", "inputs/CPU s", lambda: synthesis(model, tokenizer, alone)),
        ("labelling", "generate, one at a time", "answers/CPU s",
         lambda: labelling(model, tokenizer, 32 if options.quick else 96, alone)),
        ("training", "peft + transformers Trainer", "tokens/CPU s", lambda: training(model, tokenizer, steps)),
    ]  # fmt: skip
    table = []
    for case, peer, unit, measure in cases:
        pairs = [pair for _ in range(rounds) for pair in measure()]
        ours, theirs = (statistics.median(pair[side] for pair in pairs) for side in (0, 1))
        ratio = statistics.median(pair[0] / pair[1] for pair in pairs)
        print(f"{case:10} {name}: ours {ours:8.2f}, {peer} {theirs:8.2f} {unit}: {ratio:.2f}×", flush=True)
        table.append({"case": f"{case}, {name}", "peer": peer, "ours": ours, "theirs": theirs, "unit": unit,
                      "ratio": ratio})  # fmt: skip
    if options.json:
        options.json.write_text(json.dumps(table, indent=1) + "\n")


if __name__ == "__main__":
    main()
