"""What inference servers make of our files, compact and uniform; beside what adapterbridge says of them.

    python bench/servers.py [--quick] [--json FILE]

The rows are results of our methods on random adapters of llama-shaped layers. "as it is" is the rule's answer for the
compact files (×: ΔW served / ΔW in PEFT), "uniform" that for the uniform ones; `composition.formats.servers` has the
rules, and tests/composition/test_servers.py holds them against copies of the servers' loaders. The peer is asked by
its command line where it is installed (pip install adapterbridge==0.2.0). The last lines give the speed of the uniform
form, streamed to a file, beside copying the compact file; best of five, wall time.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402

from composition.formats.peft.layouts.uniform import uniform_files  # noqa: E402
from composition.formats.servers import SERVERS, Verdict, verdicts  # noqa: E402
from composition.formats.sources import local_files  # noqa: E402
from composition.formats.validate import validate_adapter  # noqa: E402
from composition.lego import LegoRecipe, lego  # noqa: E402
from composition.merging.cat import cat  # noqa: E402
from composition.recipes import CatRecipe  # noqa: E402
from composition.weights import Factors, LoraWeights, save_peft  # noqa: E402

LAYERS, WIDTH = 2, 64
ALL, QV = ("q_proj", "k_proj", "v_proj", "o_proj"), ("q_proj", "v_proj")
SHAPES = {f"model.layers.{layer}.self_attn.{name}": [WIDTH, WIDTH] for layer in range(LAYERS) for name in ALL}


def adapter(seed: int, *, names=ALL, layers=range(LAYERS), rank=8, scale=1.0, width=WIDTH) -> LoraWeights:
    """Random factors; `scale` and `rank` may be {last name: value}."""
    torch.manual_seed(seed)
    modules = {}
    for layer in layers:
        for name in names:
            r, s = (value.get(name, value[""]) if isinstance(value, dict) else value for value in (rank, scale))
            modules[f"model.layers.{layer}.self_attn.{name}"] = Factors(torch.randn(r, width), torch.randn(width, r), s)
    return LoraWeights(modules, base_model="bench/llama")


def rslora() -> LoraWeights:
    """Rank 16, α = 16, rsLoRA: scale 4."""
    return adapter(1, rank=16, scale=4.0)


ROWS = {
    "lego k = 16": lambda: lego([adapter(1), adapter(2)], LegoRecipe(rank=16, n_init=1)).weights,
    "lego k = 12": lambda: lego([adapter(1), adapter(2)], LegoRecipe(rank=12, n_init=1)).weights,
    "cat, one adapter has q, v only": lambda: cat([adapter(1), adapter(2, names=QV)], CatRecipe()).weights,
    "cat, one adapter in layer 1 only": lambda: cat([adapter(1), adapter(2, layers=[1])], CatRecipe()).weights,
    "a source with its own patterns": lambda: adapter(
        1, rank={"": 8, "k_proj": 4}, scale={"": 2.0, "k_proj": 4.0, "v_proj": 0.5}
    ),
    "upper layers only": lambda: adapter(1, layers=[1], rank=16),
    "rsLoRA, rank 16": rslora,
}


def write(name: str, folder: Path) -> None:
    save_peft(ROWS[name](), folder)
    if ROWS[name] is rslora:
        config = json.loads((folder / "adapter_config.json").read_text())
        config |= {"use_rslora": True, "lora_alpha": 16}
        (folder / "adapter_config.json").write_text(json.dumps(config))


def answer(one: Verdict) -> str:
    """right, refuses, or the factors."""
    return " ".join(sorted({f"×{factor:.3g}" for factor in one.factors.values()})) or one.answer


def judged(folder: Path) -> list[str]:
    facts = validate_adapter(local_files(folder), base_shapes=SHAPES)
    return [answer(one) for one in verdicts(facts, SHAPES)]


def peer(folder: Path, target: str) -> str:
    """adapterbridge's errors on the weights and their config; files that only the base has are not counted."""
    command = [sys.executable, "-m", "adapterbridge.cli", "check", "-p", str(folder), "-t", target, "-f", "json"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=60)
        report = json.loads(said.stdout.replace("\n", " "))
    except (json.JSONDecodeError, subprocess.TimeoutExpired):
        return "not installed"
    errors = [issue["code"] for issue in report["issues"] if issue["severity"] == "error"]
    return ", ".join(code for code in errors if "MISSING" not in code) or "no error"


def speed(folder: Path, megabytes: int) -> dict:
    """The uniform form of an adapter of rank 12 and scale 2, float32, and a copy of its file."""
    width = 1024
    modules = megabytes * 2**20 // (2 * 12 * width * 4)
    torch.manual_seed(0)
    factors = Factors(torch.randn(12, width), torch.randn(width, 12), 2.0)
    save_peft(LoraWeights({f"model.layers.{i}.self_attn.q_proj": factors for i in range(modules)}), folder)
    weights, out = folder / "adapter_model.safetensors", folder / "out"
    seconds, copied = [], []
    for _ in range(5):
        begin = time.perf_counter()
        made = uniform_files(local_files(folder))["adapter_model.safetensors"]
        with made.open() as stream, out.open("wb") as file:
            shutil.copyfileobj(stream, file, 1 << 20)
        seconds.append(time.perf_counter() - begin)
        out.unlink()
        begin = time.perf_counter()
        with weights.open("rb") as stream, out.open("wb") as file:
            shutil.copyfileobj(stream, file, 1 << 20)
        copied.append(time.perf_counter() - begin)
        out.unlink()
    ours, theirs = made.size / 2**20 / min(seconds), weights.stat().st_size / 2**20 / min(copied)
    print(f"uniform form: {ours:.0f} MiB/s written; a copy of the compact file: {theirs:.0f} MiB/s")
    named = {"case": "uniform form, streamed", "peer": "copy of the file", "unit": "MiB/s"}
    return {**named, "ours": ours, "theirs": theirs, "ratio": ours / theirs}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--quick", action="store_true", help="a small file for the speed")
    options.add_argument("--json", type=Path)
    given, rows = options.parse_args(), []
    torch.set_num_threads(1)
    print("| row | " + " | ".join(row.label for row in SERVERS) + " | uniform | adapterbridge: vLLM | SGLang |")
    print("|---" * (len(SERVERS) + 4) + "|")
    with tempfile.TemporaryDirectory() as place:
        for number, name in enumerate(ROWS):
            folder, other = Path(place, f"{number}"), Path(place, f"{number}u")
            write(name, folder)
            save_peft(ROWS[name](), other, layout="uniform", base_shapes=SHAPES)
            compact, uniform = judged(folder), judged(other)
            said = [peer(folder, target) for target in ("vllm", "sglang")]
            print(f"| {name} | " + " | ".join([*compact, "/".join(sorted(set(uniform))), *said]) + " |")
            wrong = sum(one != "right" for one in compact)
            named = {"case": name, "peer": "compact", "unit": "servers wrong", "ratio": None}
            rows.append({**named, "ours": sum(one != "right" for one in uniform), "theirs": wrong})
        rows.append(speed(Path(place, "speed"), 16 if given.quick else 256))
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
