"""Mixtures on a GPU: one layer beside PEFT's LoRA and Arrow, a Mixtral-style loop and MeteoRA's bmm gather.

    python bench/moe_gpu.py [--quick] [--dtype bfloat16] [--json FILE]        needs a GPU; --device cpu tries the script

Microseconds a call by CUDA events, the median of several rounds that take turns, weights random. Ours is the stack form
(three GEMMs, no shape depends on data), the same captured in a CUDA graph, and for few tokens the Triton kernels where
Triton is installed. Peers run as their libraries run them, eagerly: a loop's shapes depend on data.
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import torch
from moe import K, Runs, bmm_gather, check, layers, mixtral_loop, peft_arrow, peft_lora, row, smora_gather

from composition.moe import kernels, lora_moe_peft

FORMS = ("MeteoRA, stack", "MeteoRA, stack in a graph", "MeteoRA, kernels")


def microseconds(runs: Runs, device: torch.device, rounds: int, calls: int) -> dict[str, float]:
    """The median over the rounds of one call's microseconds."""
    took: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        for _ in range(3):
            run()
    for _ in range(rounds):
        for name, run in runs.items():
            took[name].append(_one(run, device, calls))
    return {name: statistics.median(seconds) for name, seconds in took.items()}


def _one(run, device: torch.device, calls: int) -> float:
    if device.type != "cuda":
        start = time.perf_counter()
        for _ in range(calls):
            run()
        return (time.perf_counter() - start) * 1e6 / calls
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    torch.cuda.synchronize()
    begin.record()
    for _ in range(calls):
        run()
    end.record()
    torch.cuda.synchronize()
    return begin.elapsed_time(end) * 1e3 / calls


def in_a_graph(run, device: torch.device):
    """The same call replayed from a CUDA graph; the call itself where there is no GPU."""
    if device.type != "cuda":
        return run
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            run()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = run()

    def replay() -> torch.Tensor:
        graph.replay()
        return out

    return replay


def formed(mixture: lora_moe_peft.MoELinear, form: str, x: torch.Tensor):
    """A call of the layer in one of its formulations."""

    def run() -> torch.Tensor:
        mixture.form = form
        return mixture(x)

    return run


def layer_rows(
    d: int, n: int, r: int, counts: list[int], device: torch.device, dtype: torch.dtype, rounds: int
) -> list[dict]:
    """Every formulation beside every peer, by number of tokens."""
    meteora, smora = (mixture.to(device, dtype) for mixture in layers(d, n, r))
    lora, arrow = (layer.to(device, dtype) for layer in (peft_lora(meteora), peft_arrow(meteora)))
    stacked = meteora.A["default"].view(n, r, d).transpose(1, 2), meteora.B["default"].t().reshape(n, r, d)
    kernel = device.type == "cuda" and kernels.triton is not None
    rows = []
    for tokens in counts:
        x = torch.randn(tokens, d, generator=torch.Generator().manual_seed(tokens)).to(device, dtype)
        stack = formed(meteora, "stack", x)
        runs: Runs = {
            "plain base linear": lambda x=x: meteora.base_layer(x),
            "PEFT LoRA": lambda x=x: lora(x),
            "MeteoRA, stack": stack,
            "MeteoRA, stack in a graph": in_a_graph(stack, device),
            "SMoRA, stack": formed(smora, "stack", x),
            "PEFT Arrow": lambda x=x: arrow(x),
            "Mixtral-style loop": lambda x=x: mixtral_loop(meteora, x),
            "SMoRA's indexed products": lambda x=x: smora_gather(smora, x),
        }
        if tokens * K * r * d * 2 < 1 << 32:
            runs["MeteoRA's bmm gather"] = lambda x=x: bmm_gather(meteora, *stacked, x)
        if kernel and tokens <= 16:
            runs["MeteoRA, kernels"] = formed(meteora, "kernel", x)
        if dtype == torch.float32:
            check(runs, [name for name in runs if name.startswith(("MeteoRA", "Mixtral"))], meteora, x)
        took = microseconds(runs, device, rounds, 20 if tokens < 64 else 5)
        case = f"d {d}, n {n}, r {r}, {tokens} token{'s' * (tokens > 1)}"
        peers = ("plain base linear", "PEFT LoRA", "PEFT Arrow", "Mixtral-style loop", "MeteoRA's bmm gather")
        for ours in (form for form in FORMS if form in took):
            rows += [row(f"{ours}, {case}", peer, took[ours], took[peer], "µs") for peer in peers if peer in took]
        for peer in ("plain base linear", "PEFT LoRA", "SMoRA's indexed products"):
            rows.append(row(f"SMoRA, stack, {case}", peer, took["SMoRA, stack"], took[peer], "µs"))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one width, few rounds")
    parser.add_argument("--device", default="cuda", help="where to run; cpu only tries the script")
    parser.add_argument("--dtype", default="bfloat16", choices=("bfloat16", "float16", "float32"))
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows as JSON")
    arguments = parser.parse_args()
    if arguments.device == "cuda" and not torch.cuda.is_available():
        print("There is no GPU here; this benchmark has nothing to measure.")
        if arguments.json:
            arguments.json.write_text("[]\n")
        return
    device, dtype = torch.device(arguments.device), getattr(torch, arguments.dtype)
    print(
        torch.cuda.get_device_name() if device.type == "cuda" else "CPU", arguments.dtype, f"torch {torch.__version__}"
    )
    if device.type == "cuda" and kernels.triton is not None:
        kernels.install()
    widths, ranks = ([1024], [8]) if arguments.quick else ([1024, 2048, 4096], [8, 16])
    rows = []
    with torch.no_grad():
        for d in widths:
            for n in (8, 28):
                for r in ranks:
                    rows += layer_rows(d, n, r, [1, 16, 512], device, dtype, 5 if arguments.quick else 15)
    width, peers = (max(len(r[key]) for r in rows) for key in ("case", "peer"))
    print(f"{'case':{width}}  {'peer':{peers}} {'ours':>9} {'theirs':>9} {'ratio':>8}")
    for r in rows:
        print(f"{r['case']:{width}}  {r['peer']:{peers}} {r['ours']:9.4g} {r['theirs']:9.4g} {r['ratio']:7.2f}×")
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
