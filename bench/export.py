"""Exports: the uniform form and the GGUF file against copying the file, a merged model against PEFT's merge_and_unload.

    python bench/export.py [--quick] [--json FILE]

An adapter of an 8B's shapes is written as the hub serves it, with one rank and scale and with several; the peer reads
and writes as many bytes. The merged model is SmolLM2-135M-Instruct with an example adapter, in float32 and bfloat16:
from folders to a folder, each side in a process of its own, one thread. Speed is CPU seconds; memory the peak of
anonymous RSS over Python with torch imported. The run stops unless both merged folders hold the same bits. `--quick`
takes a small adapter and a small random base.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[variable] = "1"
ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "examples")]

import torch  # noqa: E402
from memory import AnonymousPeak  # noqa: E402
from merge import layer_shapes  # noqa: E402

torch.set_num_threads(1)
ROUNDS = 5
BLOCK = 1 << 20
BASE_CONFIG = {"model_type": "llama", "num_attention_heads": 32, "num_key_value_heads": 8}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--quick", action="store_true")
    options.add_argument("--json", type=Path)
    options.add_argument("--side", nargs=4, metavar=("WHO", "BASE", "ADAPTER", "OUT"), help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.side:
        return print(json.dumps(one_side(given.side[0], *map(Path, given.side[1:]))))
    with tempfile.TemporaryDirectory() as folder:
        rows = [*forms(Path(folder), given.quick), *merged(Path(folder), given.quick)]
    table(rows)
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1) + "\n")


def forms(folder: Path, quick: bool) -> list[dict]:
    """MB of the written file per CPU second, ours and by copying as many bytes."""
    from composition.formats.gguf.lora import gguf_files
    from composition.formats.peft.layouts.uniform import uniform_files
    from composition.formats.sources import LocalFile, local_files

    layers, width = (4, 1024) if quick else (32, 4096)
    rows = []
    for name, ranks in (("one rank, one scale", (16,)), ("ranks and scales differ", (8, 12, 16))):
        adapter = folder / name.replace(" ", "-")
        write_adapter(adapter, layers, width, ranks)
        files = local_files(adapter)
        config = {**BASE_CONFIG, "num_hidden_layers": layers}
        made = {
            "uniform": lambda files=files: uniform_files(files)["adapter_model.safetensors"],
            "gguf": lambda files=files, config=config: gguf_files(files, config)["adapter.gguf"],
        }
        for form, make in made.items():
            out = folder / form
            ours = median(lambda make=make, out=out: written(make(), out))
            theirs = median(lambda out=out: written(LocalFile(out), folder / "copy"))
            size = out.stat().st_size / 1e6
            case = f"{form}, {size:.0f} MB, {name}"
            rows.append(row(case, "copying the file", size / ours, size / theirs, "MB/s", more_is_better=True))
    return rows


def written(source, out: Path) -> None:
    with source.open() as stream, out.open("wb") as file:
        while block := stream.read(BLOCK):
            file.write(block)


def median(run) -> float:
    """CPU seconds."""
    seconds = []
    for _ in range(ROUNDS):
        start = time.process_time()
        run()
        seconds.append(time.process_time() - start)
    return statistics.median(seconds)


def write_adapter(folder: Path, layers: int, width: int, ranks: tuple[int, ...]) -> None:
    """A bfloat16 LoRA of all seven projections; the modules take `ranks` in turn, with alpha 32."""
    from composition.weights import Factors, LoraWeights, save_peft

    modules, generator = {}, torch.Generator().manual_seed(0)
    for layer in range(layers):
        for number, (name, (wide, high)) in enumerate(layer_shapes(width, layer).items()):
            rank = ranks[number % len(ranks)]
            factors = (torch.randn(shape, generator=generator).bfloat16() for shape in ((rank, wide), (high, rank)))
            modules[name] = Factors(*factors, 32 / rank if len(ranks) == 1 else 32 / (rank + number))
    save_peft(LoraWeights(modules, base_model="bench/llama"), folder)


def merged(folder: Path, quick: bool) -> list[dict]:
    """CPU seconds and anonymous MiB of both sides."""
    rows = []
    for dtype in ("float32", "bfloat16"):
        base, adapter, name = bases(folder, dtype, quick)
        found = {}
        for who in ("ours", "theirs"):
            runs = [run_side(who, base, adapter, folder / f"{who}-{n}") for n in range(1 if quick else 3)]
            found[who] = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
        same_bits(folder / "ours-0", folder / "theirs-0")
        for key, unit in (("seconds", "s"), ("MiB", "MiB")):
            figures = found["ours"][key], found["theirs"][key]
            peer = "PEFT merge_and_unload, save_pretrained"
            rows.append(row(f"merged {name}, {dtype}", peer, *figures, unit, more_is_better=False))
        for path in folder.glob("*s-[0-9]"):
            for file in path.iterdir():
                file.unlink()
            path.rmdir()
    return rows


def bases(folder: Path, dtype: str, quick: bool) -> tuple[Path, Path, str]:
    """The base's folder in this dtype, an adapter of it, and what the base is called."""
    from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

    out = folder / f"base-{dtype}"
    if quick:
        sizes = {"vocab_size": 4096, "hidden_size": 1024, "intermediate_size": 2816, "num_hidden_layers": 4}
        heads = {"num_attention_heads": 16, "num_key_value_heads": 4}
        LlamaForCausalLM(LlamaConfig(**sizes, **heads)).to(getattr(torch, dtype)).save_pretrained(out)
        return out, folder / "one-rank,-one-scale", "a random Llama of 4 layers"
    from base import DEFAULT, ready

    AutoModelForCausalLM.from_pretrained(ready(DEFAULT), dtype=getattr(torch, dtype)).save_pretrained(out)
    return out, ROOT / "examples/adapters/dates", "SmolLM2-135M"


def run_side(who: str, base: Path, adapter: Path, out: Path) -> dict:
    command = [sys.executable, __file__, "--side", who, str(base), str(adapter), str(out)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def one_side(who: str, base: Path, adapter: Path, out: Path) -> dict:
    """{"seconds", "MiB"} of one export in this process."""
    work = {"ours": ours, "theirs": theirs}[who](base, adapter, out)
    start = time.process_time()
    with AnonymousPeak() as memory:
        work()
    return {"seconds": time.process_time() - start, "MiB": memory.mebibytes}


def ours(base: Path, adapter: Path, out: Path):
    import composition.merged_model.arithmetic  # noqa: F401
    from composition.merged_model.write import export_merged

    return lambda: export_merged(base, adapter, out)


def theirs(base: Path, adapter: Path, out: Path):
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    def work() -> None:
        model = AutoModelForCausalLM.from_pretrained(base, dtype="auto")
        PeftModel.from_pretrained(model, str(adapter)).merge_and_unload().save_pretrained(out)

    return work


def same_bits(one: Path, other: Path) -> None:
    from safetensors.torch import load_file

    first, second = ({k: t for p in f.glob("*.safetensors") for k, t in load_file(p).items()} for f in (one, other))
    assert first.keys() == second.keys(), "the two sides wrote different tensors"
    for name, tensor in first.items():
        assert torch.equal(tensor.view(torch.uint8), second[name].view(torch.uint8)), f"{name} differs"


def row(case: str, peer: str, ours: float, theirs: float, unit: str, *, more_is_better: bool) -> dict:
    ratio = ours / theirs if more_is_better else theirs / ours
    figures = {"ours": round(ours, 3), "theirs": round(theirs, 3), "unit": unit, "ratio": round(ratio, 2)}
    return {"case": case, "peer": peer, **figures}


def table(rows: list[dict]) -> None:
    print("| case | ours | theirs | ratio | peer |\n|---|---|---|---|---|")
    for one in rows:
        figures = (f"{one[side]:.3g} {one['unit']}" for side in ("ours", "theirs"))
        print(f"| {one['case']} | {' | '.join(figures)} | {one['ratio']:g}× | {one['peer']} |")


if __name__ == "__main__":
    main()
