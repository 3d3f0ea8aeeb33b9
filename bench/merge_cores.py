"""Merges on cores against their dense forms, how their cost grows, and a whole 8B against reading its bytes.

    python bench/merge_cores.py [--quick] [--json FILE]

Rank-16 adapters from different random starts, merged to rank 16, one thread a side, CPU seconds. Such adapters have
nothing in common: for compress-then-merge, which looks for common directions, that is the longest search there is. Our
figures include the report; the dense side does the merge alone, on one module, and is not run at widths where it
takes minutes. The 8B is judged by what reading its bytes from the page cache takes: at most 25 times that.
"""

import argparse
import tempfile
from pathlib import Path

from merge import ADAPTERS, RANK, cpu_seconds, layer_shapes, measured, random_adapters, row, tell, write_adapters

KINDS = ("svd", "task-arithmetic", "tsv", "iso-c", "iso-cts", "core-space", "pico", "ctm", "knots")
GRAMS_ALONE = KINDS[:7]
"""Methods that are a little algebra on the Grams: they have the bound of 25 times reading."""


def run(kind: str, adapters: list) -> None:
    from composition.registry import METHODS

    METHODS[kind].load()(adapters, METHODS[kind].recipe(rank=RANK))


def dense_rows(width: int) -> list[dict]:
    import dense_merges

    adapters = random_adapters({"q_proj": (width, width)})
    pairs = [adapter["q_proj"].balanced() for adapter in adapters]
    rows = []
    for kind in KINDS:
        dense = getattr(dense_merges, "svd" if kind == "task-arithmetic" else kind.replace("-", "_"))
        run(kind, adapters)
        ours = cpu_seconds(lambda kind=kind: run(kind, adapters), 9)
        theirs = cpu_seconds(lambda dense=dense: dense(pairs, RANK), 1)
        rows.append(row(f"{kind}, q_proj of width {width}", "the same, dense in torch", ours, theirs, "CPU s"))
    return rows


def growth_rows(widths: list[int], counts: list[int]) -> list[dict]:
    """A layer at each width and number of adapters, against R² d grown from eight adapters of width 1024."""
    rows = []
    start: dict[str, float] = {}
    cases = [(1024, ADAPTERS), *[(w, n) for w in widths for n in counts if (w, n) != (1024, ADAPTERS)]]
    for width, count in cases:
        adapters = random_adapters(layer_shapes(width), count=count)
        for kind in KINDS:
            seconds = cpu_seconds(lambda kind=kind, adapters=adapters: run(kind, adapters), 3)
            start.setdefault(kind, seconds)
            grown = start[kind] * (count / ADAPTERS) ** 2 * sides(width) / sides(1024)
            peer = "R² d, from 8 of width 1024"
            rows.append(row(f"{kind}, {count} adapters, a layer of width {width}", peer, seconds, grown, "CPU s"))
    return rows


def sides(width: int) -> int:
    """Σ (in + out) of a layer."""
    return sum(a + b for a, b in layer_shapes(width).values())


def read_seconds(folder: Path) -> float:
    """CPU seconds of reading the adapters' files, which are in the page cache, into memory."""
    files = sorted(folder.glob("adapter-*/*.safetensors"))
    return cpu_seconds(lambda: [len(path.read_bytes()) for path in files], 5)


def whole_model_rows(layers: int, speed: bool) -> list[dict]:
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_adapters(folder, layers)
        read_seconds(folder)
        for kind in KINDS:
            reading = read_seconds(folder)
            done = measured(kind, folder)
            case = f"{kind}, {layers} layers × 7 modules of 8B shape"
            if speed:
                times, peer = (25, "25 × reading the bytes") if kind in GRAMS_ALONE else (1, "reading the bytes")
                rows.append(row(case, peer, done["seconds"], times * reading, "CPU s"))
            rows.append(row(case, "the bound of 1 GiB", done["mebibytes"], 1024.0, "MiB anonymous"))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="under a minute: one width, memory of 2 layers")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows as JSON")
    parser.add_argument("--parts", default="dense,growth,whole", help="which tables, of dense, growth, whole")
    arguments = parser.parse_args()
    parts = arguments.parts.split(",")
    rows = dense_rows(256 if arguments.quick else 1024) if "dense" in parts else []
    if "growth" in parts:
        rows += growth_rows([1024], [8]) if arguments.quick else growth_rows([1024, 2048, 4096], [2, 8, 28])
    if "whole" in parts:
        rows += whole_model_rows(2 if arguments.quick else 32, speed=not arguments.quick)
    tell(rows, arguments.json)


if __name__ == "__main__":
    main()
