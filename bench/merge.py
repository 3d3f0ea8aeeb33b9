"""Merges against what people use today: LoRA-LEGO with scikit-learn's KMeans on raw units, exact SVD with PEFT.

    python bench/merge.py [--quick] [--report] [--json FILE]

Eight rank-16 adapters from different random starts (the usual case, and the slowest: nothing to cluster) merged to
rank 16, one thread a side. Speed is CPU seconds, memory the peak of anonymous RSS over Python with torch imported,
sampled from /proc in a process of its own. Our figures include all diagnostics and the second k-means seed.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[variable] = "1"
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch  # noqa: E402
from memory import AnonymousPeak  # noqa: E402

torch.set_num_threads(1)
ADAPTERS, RANK = 8, 16
INTERMEDIATE = {1024: 2816, 2048: 5632, 4096: 14336}
Shapes = dict[str, tuple[int, int]]


def layer_shapes(width: int, layer: int = 0) -> Shapes:
    """{module: (in, out)} of one llama decoder layer with a quarter of the heads for keys and values."""
    inner, narrow = INTERMEDIATE[width], width // 4
    attention = {"q": (width, width), "k": (width, narrow), "v": (width, narrow), "o": (width, width)}
    mlp = {"gate": (width, inner), "up": (width, inner), "down": (inner, width)}
    prefix = f"model.layers.{layer}"
    return {f"{prefix}.self_attn.{name}_proj": shape for name, shape in attention.items()} | {
        f"{prefix}.mlp.{name}_proj": shape for name, shape in mlp.items()
    }


def random_adapters(shapes: Shapes, dtype: torch.dtype = torch.float32, count: int = ADAPTERS) -> list:
    """Adapters as peft starts A (uniform, 1/√in) with a small trained B."""
    from composition.weights import Factors, LoraWeights

    adapters = []
    for seed in range(count):
        generator = torch.Generator().manual_seed(seed)
        modules = {}
        for name, (width, out) in shapes.items():
            A = (torch.rand(RANK, width, generator=generator) * 2 - 1) / width**0.5
            B = torch.randn(out, RANK, generator=generator) * 0.01
            modules[name] = Factors(A.to(dtype), B.to(dtype), 2.0)
        adapters.append(LoraWeights(modules, base_model="bench/llama"))
    return adapters


def cpu_seconds(run: Callable[[], object], repeats: int = 3) -> float:
    """The median CPU seconds of some runs."""
    times = []
    for _ in range(repeats):
        start = time.process_time()
        run()
        times.append(time.process_time() - start)
    return statistics.median(times)


def sklearn_lego(adapters: list, n_init: int) -> None:
    """LoRA-LEGO as its public implementations do it: KMeans on [a; b], centres, L∞ growth."""
    import numpy as np
    from sklearn.cluster import KMeans

    for module in adapters[0]:
        balanced = [adapter[module].balanced() for adapter in adapters]
        units = torch.cat([torch.cat([A, B.T], 1) for A, B in balanced]).numpy()
        fit = KMeans(RANK, n_init=n_init, random_state=0).fit(units)
        largest = np.abs(units).max(1)
        mean = np.bincount(fit.labels_, largest) / np.bincount(fit.labels_)
        centres = fit.cluster_centers_ * (mean / np.abs(fit.cluster_centers_).max(1))[:, None]
        _A, _B = centres[:, : balanced[0][0].shape[1]].copy(), centres[:, balanced[0][0].shape[1] :].T.copy()


def peft_model(adapters: list):
    """A peft model of bare linear layers that holds the adapters."""
    from peft import LoraConfig, get_peft_model

    base = torch.nn.Module()
    for name in adapters[0]:
        facts = adapters[0].module_facts(name)
        base.add_module(name.replace(".", "_"), torch.nn.Linear(facts.in_features, facts.out_features, bias=False))
    targets = [name.replace(".", "_") for name in adapters[0]]
    config = LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules=targets)
    model = get_peft_model(base, config, adapter_name="a0")
    for i, adapter in enumerate(adapters):
        if i:
            model.add_adapter(f"a{i}", config)
        for name, factors in adapter.items():
            layer = model.base_model.model.get_submodule(name.replace(".", "_"))
            layer.lora_A[f"a{i}"].weight.data.copy_(factors.A)
            layer.lora_B[f"a{i}"].weight.data.copy_(factors.B)
    return model


def peft_svd(model) -> None:
    model.add_weighted_adapter(
        [f"a{i}" for i in range(ADAPTERS)], [1 / ADAPTERS] * ADAPTERS, "merged", combination_type="svd", svd_rank=RANK
    )


def row(case: str, peer: str, ours: float, theirs: float, unit: str) -> dict:
    return {"case": case, "peer": peer, "ours": ours, "theirs": theirs, "unit": unit, "ratio": theirs / ours}


def lego_rows(widths: list[int]) -> list[dict]:
    from composition.merging.lego import LegoRecipe, lego

    rows = []
    for width in widths:
        adapters = random_adapters(layer_shapes(width))
        for n_init in (1, 10):
            recipe = LegoRecipe(rank=RANK, n_init=n_init)
            lego(adapters, recipe)
            ours = cpu_seconds(lambda adapters=adapters, recipe=recipe: lego(adapters, recipe), 15)
            theirs = cpu_seconds(
                lambda adapters=adapters, n_init=n_init: sklearn_lego(adapters, n_init), 5 if n_init == 1 else 2
            )
            rows.append(
                row(f"LEGO, one layer of width {width}, n_init {n_init}", "scikit-learn", ours, theirs, "CPU s")
            )
    return rows


def svd_rows(widths: list[int]) -> list[dict]:
    from composition.merging.svd import SvdRecipe, svd

    rows = []
    for width in widths:
        shapes = layer_shapes(width)
        label = f"exact SVD, one layer of width {width}"
        if width == 4096:
            shapes = {name: shape for name, shape in shapes.items() if shape == (width, width)}
            label = "exact SVD, q_proj and o_proj of width 4096"
        adapters = random_adapters(shapes)
        svd(adapters, SvdRecipe(rank=RANK))
        ours = cpu_seconds(lambda adapters=adapters: svd(adapters, SvdRecipe(rank=RANK)), 15)
        model = peft_model(adapters)
        theirs = cpu_seconds(lambda model=model: peft_svd(model), 1)
        rows.append(row(label, "PEFT svd", ours, theirs, "CPU s"))
    return rows


def write_adapters(folder: Path, layers: int) -> None:
    """The 8B-shaped adapters as bfloat16 files, one layer in memory at a time."""
    from composition.facts import ModuleFacts
    from composition.weights import Factors, LazyFactors, LoraWeights, save_peft

    shapes = {name: shape for layer in range(layers) for name, shape in layer_shapes(4096, layer).items()}
    for seed in range(ADAPTERS):
        modules = {}
        for i, (name, (width, out)) in enumerate(shapes.items()):

            def load(width=width, out=out, key=seed * 10_000 + i) -> Factors:
                generator = torch.Generator().manual_seed(key)
                A = (torch.rand(RANK, width, generator=generator) * 2 - 1) / width**0.5
                return Factors(A.bfloat16(), (torch.randn(out, RANK, generator=generator) * 0.01).bfloat16(), 2.0)

            facts = ModuleFacts(r=RANK, in_features=width, out_features=out, scale=2.0)
            modules[name] = LazyFactors(facts, torch.bfloat16, load)
        save_peft(LoraWeights(modules), folder / f"adapter-{seed}", base_model="bench/8b")


def measure(method: str, folder: Path) -> dict:
    """In this process: merge the folder's adapters from file to file, or PEFT's SVD of one 4096 × 4096 module."""
    with AnonymousPeak() as memory:
        start = time.process_time()
        if method == "peft":
            peft_svd(peft_model(random_adapters({"q_proj": (4096, 4096)})))
        else:
            from composition.formats import read_adapter
            from composition.registry import METHODS
            from composition.weights import save_peft

            adapters = [read_adapter(path) for path in sorted(folder.glob("adapter-*"))]
            recipe = METHODS[method].recipe() if method == "cat" else METHODS[method].recipe(rank=RANK)
            result = METHODS[method].load()(adapters, recipe)
            save_peft(result.weights, folder / f"merged-{method}", base_model="bench/8b")
        seconds = time.process_time() - start
    return {"seconds": seconds, "mebibytes": memory.mebibytes}


def measured(method: str, folder: Path) -> dict:
    """`measure` in a fresh process."""
    command = [sys.executable, __file__, "--measure", method, str(folder)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])


def whole_model_rows(layers: int, peft_memory: bool) -> list[dict]:
    label = f"{layers} layers × 7 modules of 8B shape, file to file"
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_adapters(folder, layers)
        layer = random_adapters(layer_shapes(4096))
        theirs = cpu_seconds(lambda: sklearn_lego(layer, 10), 1) * layers
        lego = measured("lego", folder)
        peer = f"scikit-learn, one layer × {layers}, n_init 10"
        rows.append(row(f"LEGO, {label}", peer, lego["seconds"], theirs, "CPU s"))
        merges = {"LEGO": lego, "exact SVD": measured("svd", folder), "concatenation": measured("cat", folder)}
        for method, done in merges.items():
            rows.append(row(f"{method}, {label}", "the bound of 1 GiB", done["mebibytes"], 1024.0, "MiB anonymous"))
        if peft_memory:
            one, svd = measured("peft", folder), merges["exact SVD"]
            case, peer = f"exact SVD, {label}", "PEFT svd, one 4096 × 4096 module alone"
            rows.append(row(case, peer, svd["mebibytes"], one["mebibytes"], "MiB anonymous"))
            modules, peer = 7 * layers, "PEFT svd, one 4096 × 4096 module × all (attention's size, the mean is larger)"
            rows.append(row(case, peer, svd["seconds"], one["seconds"] * modules, "CPU s"))
    return rows


def tell(rows: list[dict], file: Path | None) -> None:
    """Print the rows as a table, and write them where that is asked for."""
    width = max(len(r["case"]) for r in rows)
    print(f"{'case':{width}}  {'ours':>9} {'theirs':>9} {'ratio':>8}  unit, peer")
    for r in rows:
        print(f"{r['case']:{width}}  {r['ours']:9.4g} {r['theirs']:9.4g} {r['ratio']:7.1f}×  {r['unit']}, {r['peer']}")
    if file:
        file.write_text(json.dumps(rows, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="under a minute: fewer widths, 4 layers")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows as JSON")
    parser.add_argument("--report", action="store_true", help="only the report of the merge page, see merge_report.py")
    parser.add_argument("--measure", nargs=2, metavar=("METHOD", "FOLDER"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(arguments.measure[0], Path(arguments.measure[1]))))
        return
    if arguments.report:
        from merge_report import report_rows

        rows = report_rows(4 if arguments.quick else 32)
    else:
        rows = lego_rows([4096] if arguments.quick else [1024, 2048, 4096])
        rows += svd_rows([1024] if arguments.quick else [1024, 2048, 4096])
        rows += whole_model_rows(4 if arguments.quick else 32, peft_memory=not arguments.quick)
    tell(rows, arguments.json)


if __name__ == "__main__":
    main()
