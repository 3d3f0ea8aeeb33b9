"""What every merge of 28 adapters of 8B shape would give, told from Grams that are kept: the report of the merge page.

    python bench/merge.py --report [--quick] [--json FILE]

28 adapters of rank 16, 32 layers of 7 modules (width 4096, inner 14336). The Grams of one layer are made from weights
and stand for all layers; the report is made from their bytes, as a worker keeps them. One thread, CPU seconds.
"""

import time

import torch

COUNT, RANK, WIDTH = 28, 16, 4096
BOUND = 10.0
"""Seconds that a person waits for it."""


def report_rows(layers: int) -> list[dict]:
    """The rows of `bench/merge.py`: making the Grams, the report from kept ones, cosines against dense updates."""
    from merge import layer_shapes, random_adapters, row

    from composition.merging.compare.blocks import pair_grams

    names = layer_shapes(WIDTH)
    adapters = random_adapters(names, torch.bfloat16, count=COUNT)
    start = time.process_time()
    pairs = pair_grams(adapters)
    making = (time.process_time() - start) * layers
    kept = {pair: _of_all_layers(grams, layers).to_bytes() for pair, grams in pairs.items()}
    seconds, judged = _report(kept, layers)
    size = sum(map(len, kept.values())) / 1e6
    label = f"{COUNT} adapters, {7 * layers} modules of 8B shape"
    print(f"{label}: Grams of {size:.0f} MB, methods judged on {judged} modules")
    module = "model.layers.0.self_attn.k_proj"
    ours, theirs = _pair_seconds(adapters, module), _dense_seconds(adapters, module)
    return [
        row(f"merge report, {label}, Grams kept", f"the bound of {BOUND:.0f} s", seconds, BOUND, "CPU s"),
        row(f"merge report, {label}, Grams made too", f"the bound of {BOUND:.0f} s", seconds + making, BOUND, "CPU s"),
        row(f"cosines of {COUNT} adapters, one 4096 → 1024 module", "dense ΔW in torch", ours, theirs, "CPU s"),
    ]


def _of_all_layers(grams, layers: int):
    """The Grams of layer 0 for every layer."""
    import numpy as np

    from composition.merging.compare.blocks import PairGrams, Run

    runs = {}
    for ranks, run in grams.runs.items():
        modules = [m.replace(".layers.0.", f".layers.{layer}.") for layer in range(layers) for m in run.modules]
        order = sorted(range(len(modules)), key=modules.__getitem__)
        blocks = np.tile(run.blocks, (layers, 1, 1, 1))[order]
        runs[ranks] = Run(tuple(modules[place] for place in order), blocks)
    return PairGrams(runs)


def _report(kept: dict, layers: int) -> tuple[float, int]:
    """(CPU seconds from bytes to report, modules judged)."""
    from merge import layer_shapes

    from composition.facts import AdapterFacts, ModuleFacts
    from composition.merging.compare.blocks import PairGrams
    from composition.merging.compare.judge import Compared, compare
    from composition.recipes.compare import CompareRecipe

    shapes = {name: shape for layer in range(layers) for name, shape in layer_shapes(WIDTH, layer).items()}
    modules = {
        name: ModuleFacts(r=RANK, in_features=width, out_features=out, scale=2.0)
        for name, (width, out) in shapes.items()
    }
    common = {"peft_type": "LORA", "dtype": "bfloat16", "parameters": 0, "bytes": 0, "target_modules": []}
    inputs = [(f"adapter {n}", AdapterFacts(modules=modules, **common)) for n in range(COUNT)]
    start = time.process_time()
    pairs = {pair: PairGrams.from_bytes(data) for pair, data in kept.items()}
    report = compare(Compared(inputs, pairs), CompareRecipe(rank=RANK, sample=0))
    return time.process_time() - start, report["judged"]


def _pair_seconds(adapters: list, module: str) -> float:
    """All cosines of one module from the factors."""
    from composition.merging.compare.blocks import pair_grams, pooled
    from composition.merging.compare.pairs import PairFigures
    from composition.weights import LoraWeights

    few = [LoraWeights({module: adapter[module]}) for adapter in adapters]
    start = time.process_time()
    figures = PairFigures(len(few))
    figures.add(pooled(pair_grams(few), [module], (RANK,) * len(few)))
    return time.process_time() - start


def _dense_seconds(adapters: list, module: str) -> float:
    """The same from dense ΔW."""
    start = time.process_time()
    updates = torch.stack([adapter[module].delta().float().flatten() for adapter in adapters])
    updates /= updates.norm(dim=1, keepdim=True)
    updates @ updates.T
    return time.process_time() - start
