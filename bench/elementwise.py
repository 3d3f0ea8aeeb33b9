"""Elementwise merges and extraction against what people use today: PEFT's svd kinds, dense SVDs of mergekit's kind.

    python bench/elementwise.py [--quick] [--json FILE]

TIES on ΔW of eight rank-16 adapters with PEFT's `ties_svd`, TIES on factors with its `ties`; a LoRA of rank 16 out of
one fine-tuned 4096 × 4096 weight with a dense SVD of the difference. One thread a side, CPU seconds; memory is the peak
of anonymous RSS over Python with torch imported, in a process of its own.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from memory import AnonymousPeak
from merge import ADAPTERS, RANK, cpu_seconds, layer_shapes, peft_model, random_adapters, row

DENSITY = 0.2
NAMES = [f"a{i}" for i in range(ADAPTERS)]


def ours(adapters: list, space: str) -> dict:
    from composition.merging.elementwise.merge import elementwise
    from composition.recipes.merge.trimming import TiesRecipe

    rank = RANK if space == "update" else None
    return elementwise(adapters, TiesRecipe(density=DENSITY, space=space, rank=rank)).report


def peft_ties(model, kind: str) -> None:
    model.add_weighted_adapter(
        NAMES, [1.0] * ADAPTERS, f"merged-{kind}", combination_type=kind, density=DENSITY, svd_rank=RANK
    )


def ties_rows(cases: list[tuple[str, dict]]) -> list[dict]:
    rows = []
    for label, shapes in cases:
        adapters = random_adapters(shapes)
        dense = cpu_seconds(lambda adapters=adapters: ours(adapters, "update"), 1)
        factors = cpu_seconds(lambda adapters=adapters: ours(adapters, "factors"), 3)
        model = peft_model(adapters)
        theirs = cpu_seconds(lambda model=model: peft_ties(model, "ties_svd"), 1)
        rows.append(row(f"TIES on ΔW, {label}", "PEFT ties_svd", dense, theirs, "CPU s"))
        theirs = cpu_seconds(lambda model=peft_model(adapters): peft_ties(model, "ties"), 1)
        rows.append(row(f"TIES on factors, {label}", "PEFT ties", factors, theirs, "CPU s"))
    return rows


def write_models(folder: Path, width: int) -> None:
    """A base and a tuned model of one bfloat16 weight, whose difference falls off as fine-tuning's does."""
    from safetensors.torch import save_file

    g = torch.Generator().manual_seed(0)
    base = torch.randn(width, width, generator=g) * 0.02
    falling = 1 / torch.arange(1, 257) ** 0.7
    step = (torch.randn(width, 256, generator=g) * falling) @ torch.randn(256, width, generator=g) * 1e-3
    for name, weight in (("base", base), ("tuned", base + step)):
        (folder / name).mkdir()
        (folder / name / "config.json").write_text('{"model_type": "llama"}')
        save_file({"model.layers.0.self_attn.q_proj.weight": weight.bfloat16()}, folder / name / "model.safetensors")


def dense_extract(folder: Path) -> float:
    """The relative error of a dense SVD of the difference, cut to the rank."""
    from safetensors.torch import load_file

    base, tuned = (next(iter(load_file(folder / n / "model.safetensors").values())).float() for n in ("base", "tuned"))
    u, s, vh = torch.linalg.svd(tuned - base, full_matrices=False)
    _A, _B = vh[:RANK].contiguous(), (u[:, :RANK] * s[:RANK]).contiguous()
    return float((1 - s[:RANK].square().sum() / s.square().sum()).sqrt())


def measure(what: str, folder: Path) -> dict:
    """In this process: one merge or extraction, with its memory."""
    with AnonymousPeak() as memory:
        start = time.process_time()
        error = 0.0
        if what == "extract":
            from composition.merged_model.extract import extract_lora

            error = extract_lora(folder / "base", folder / "tuned", folder / "lora", rank=RANK)["error"]
        elif what == "dense":
            error = dense_extract(folder)
        else:
            adapters = random_adapters({"down_proj": (14336, 4096)}, torch.bfloat16)
            error = ours(adapters, "update")["modules"]["down_proj"]["residual"]
        seconds = time.process_time() - start
    return {"seconds": seconds, "mebibytes": memory.mebibytes, "error": error}


def measured(what: str, folder: Path) -> dict:
    """`measure` in a fresh process."""
    command = [sys.executable, __file__, "--measure", what, str(folder)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])


def extract_rows(width: int) -> list[dict]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_models(folder, width)
        found, dense = measured("extract", folder), measured("dense", folder)
    case, peer = f"LoRA of rank {RANK} out of one {width} × {width} weight", "a dense SVD of the difference"
    return [
        row(case, peer, found["seconds"], dense["seconds"], "CPU s"),
        row(case, peer, found["mebibytes"], dense["mebibytes"], "MiB anonymous"),
        row(case, peer, found["error"], dense["error"], "relative error"),
    ]


def memory_rows() -> list[dict]:
    found = measured("ties", Path())
    case = "TIES on ΔW of one 4096 × 14336 weight, eight adapters"
    return [row(case, "the bound of 1 GiB", found["mebibytes"], 1024.0, "MiB anonymous")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="under a minute: one width, a smaller weight")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows as JSON")
    parser.add_argument("--measure", nargs=2, metavar=("WHAT", "FOLDER"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(arguments.measure[0], Path(arguments.measure[1]))))
        return
    cases = [("one attention weight of width 1024", {"q_proj": (1024, 1024)})]
    if not arguments.quick:
        cases.append(("one layer of width 1024", layer_shapes(1024)))
        cases.append(("one attention weight of width 4096", {"q_proj": (4096, 4096)}))
    rows = ties_rows(cases) + extract_rows(2048 if arguments.quick else 4096)
    rows += [] if arguments.quick else memory_rows()
    width = max(len(r["case"]) for r in rows)
    print(f"{'case':{width}}  {'ours':>9} {'theirs':>9} {'ratio':>8}  unit, peer")
    for r in rows:
        print(f"{r['case']:{width}}  {r['ours']:9.4g} {r['theirs']:9.4g} {r['ratio']:7.1f}×  {r['unit']}, {r['peer']}")
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
