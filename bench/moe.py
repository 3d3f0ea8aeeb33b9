"""Mixtures against what people use today: one layer beside PEFT's LoRA and Arrow, a Mixtral-style loop and MeteoRA's
bmm gather; a whole model beside X-LoRA and Arrow.

    python bench/moe.py [--quick] [--json FILE]

One thread, CPU time of that thread, the least of several interleaved rounds, float32. Weights are random, so tokens
spread over the experts as evenly as they can: the worst case of everything that reads only what was chosen. Limits: a
mixture with k = 2 may cost 1.2 (n = 8) or 1.3 (n = 28) single LoRAs of PEFT from d = 2048, 1.3 or 1.6 at d = 1024;
SMoRA 1.25 times what its products (router, A and B of all R ranks) predict of a single LoRA.
"""

import argparse
import itertools
import json
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[variable] = "1"
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch  # noqa: E402
from peft import ArrowConfig, LoraConfig, XLoraConfig, create_arrow_model, get_peft_model  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from transformers import LlamaConfig, LlamaForCausalLM  # noqa: E402

from composition.moe import lora_moe_peft as moe  # noqa: E402

warnings.filterwarnings("ignore")
torch.set_num_threads(1)
Runs = dict[str, Callable[[], object]]
K = 2
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def seconds(runs: Runs, rounds: int, budget: float) -> dict[str, float]:
    """The least CPU seconds of one call of each, in rounds that take turns, about `budget` seconds each."""
    repeats, least = {}, {}
    for name, run in runs.items():
        run()
        start = time.thread_time()
        run()
        took = time.thread_time() - start
        repeats[name], least[name] = max(1, int(budget / max(took, 1e-6))), took
    for _round in range(rounds):
        for name, run in runs.items():
            start = time.thread_time()
            for _repeat in range(repeats[name]):
                run()
            least[name] = min(least[name], (time.thread_time() - start) / repeats[name])
    return least


class OneLinear(nn.Module):
    """A model of one projection."""

    def __init__(self, base: nn.Linear) -> None:
        super().__init__()
        self.q_proj = base

    def forward(self, x: Tensor) -> Tensor:
        return self.q_proj(x)


def layers(d: int, n: int, r: int) -> tuple[moe.MeteoraLinear, moe.SmoraLinear]:
    """Both mixtures on one base, with the same random experts."""
    torch.manual_seed(0)
    base = nn.Linear(d, d, bias=False)
    experts = [{"name": f"e{i}", "r": r, "lora_alpha": 2 * r} for i in range(n)]
    meteora = moe.MeteoraLinear(base, "default", moe.MeteoraConfig(experts=experts, top_k=K), "q_proj")
    smora = moe.SmoraLinear(base, "default", moe.SmoraConfig(experts=experts, activate_r=r), "q_proj")
    meteora.B["default"].data.normal_(0, 0.01)
    smora.A["default"].data.copy_(meteora.A["default"].data)
    smora.B["default"].data.copy_(meteora.B["default"].data)
    return meteora.requires_grad_(False).eval(), smora.requires_grad_(False).eval()


def peft_lora(mixture: moe.MeteoraLinear) -> nn.Module:
    """PEFT's LoRA of the first expert's rank on the same base."""
    r = mixture.blocks["default"].ranks[0]
    config = LoraConfig(r=r, lora_alpha=2 * r, target_modules=["q_proj"], init_lora_weights=False)
    return get_peft_model(OneLinear(mixture.base_layer), config).eval().base_model.model.q_proj


def peft_arrow(mixture: moe.MeteoraLinear) -> nn.Module:
    """PEFT's Arrow over as many LoRAs, by its own way in: folders."""
    blocks = mixture.blocks["default"]
    with tempfile.TemporaryDirectory() as name:
        folders = [save_lora(OneLinear(mixture.base_layer), Path(name) / str(i), r) for i, r in enumerate(blocks.ranks)]
        model = create_arrow_model(OneLinear(mixture.base_layer), folders, ArrowConfig(top_k=K))
    return model.eval().base_model.model.q_proj


def save_lora(model: nn.Module, folder: Path, r: int) -> str:
    targets = ["q_proj"] if isinstance(model, OneLinear) else TARGETS
    config = LoraConfig(r=r, lora_alpha=2 * r, target_modules=targets, init_lora_weights=False)
    adapted = get_peft_model(model, config)
    adapted.save_pretrained(folder)
    adapted.unload()
    return str(folder)


def mixtral_loop(mixture: moe.MeteoraLinear, x: Tensor) -> Tensor:
    """Mixtral's and MeteoRA's loop: every expert gathers its tokens through a one-hot mask."""
    blocks = mixture.blocks["default"]
    out = mixture.base_layer(x)
    chosen, weights = mixture.route(mixture.router_logits(x), "default")
    mask = nn.functional.one_hot(chosen, len(blocks.ranks)).permute(2, 1, 0)
    A, B = mixture.A["default"], mixture.B["default"]
    for i, (offset, rank) in enumerate(zip(blocks.offsets, blocks.ranks, strict=True)):
        which, token = torch.where(mask[i])
        hidden = nn.functional.linear(x[token], A[offset : offset + rank])
        delta = nn.functional.linear(hidden, B[:, offset : offset + rank]) * blocks.scales[i]
        out.index_add_(0, token, delta * weights[token, which, None])
    return out


def bmm_gather(mixture: moe.MeteoraLinear, A: Tensor, B: Tensor, x: Tensor) -> Tensor:
    """MeteoRA's bmm-torch: A [n, in, r] and B [n, r, out] gathered for every token."""
    chosen, weights = mixture.route(mixture.router_logits(x), "default")
    flat = chosen.flatten()
    delta = torch.bmm(torch.bmm(x.repeat_interleave(K, 0)[:, None], A[flat]), B[flat])[:, 0]
    delta = delta * (weights.flatten()[:, None] * mixture.blocks["default"].scales[0])
    return mixture.base_layer(x) + delta.view(len(x), K, -1).sum(1)


def smora_gather(mixture: moe.SmoraLinear, x: Tensor) -> Tensor:
    """The indexed products of SMoRA's TVM kernel, in torch."""
    ranks, gates = mixture.route(mixture.router_logits(x), "default")
    A, B = mixture.A["default"], mixture.B["default"]
    hidden = torch.bmm(A[ranks], x[:, :, None])[..., 0] * gates * mixture.blocks["default"].scales[0]
    return mixture.base_layer(x) + torch.bmm(hidden[:, None], B.t()[ranks])[:, 0]


def check(runs: Runs, names: list[str], mixture: moe.MoELinear, x: Tensor) -> None:
    """All of them must say the same as the reference."""
    mixture.form = "loop"
    expected = mixture(x)
    mixture.form = None
    for name in names:
        torch.testing.assert_close(runs[name](), expected, rtol=1e-3, atol=1e-4)


def row(case: str, peer: str, ours: float, theirs: float, unit: str) -> dict:
    return {"case": case, "peer": peer, "ours": ours, "theirs": theirs, "unit": unit, "ratio": theirs / ours}


def layer_rows(d: int, n: int, r: int, counts: list[int], rounds: int, budget: float) -> list[dict]:
    meteora, smora = layers(d, n, r)
    lora, arrow = peft_lora(meteora), peft_arrow(meteora)
    stacked = meteora.A["default"].view(n, r, d).transpose(1, 2), meteora.B["default"].t().reshape(n, r, d)
    rows = []
    for tokens in counts:
        x = torch.randn(tokens, d, generator=torch.Generator().manual_seed(tokens))
        runs: Runs = {
            "base": lambda x=x: meteora.base_layer(x),
            "lora": lambda x=x: lora(x),
            "meteora": lambda x=x: meteora(x),
            "smora": lambda x=x: smora(x),
            "PEFT Arrow": lambda x=x: arrow(x),
            "Mixtral-style loop": lambda x=x: mixtral_loop(meteora, x),
            "MeteoRA's bmm gather": lambda x=x: bmm_gather(meteora, *stacked, x),
            "SMoRA's indexed products": lambda x=x: smora_gather(smora, x),
        }
        check(runs, ["meteora", "Mixtral-style loop", "MeteoRA's bmm gather"], meteora, x)
        check(runs, ["smora", "SMoRA's indexed products"], smora, x)
        took = {name: s * 1e6 for name, s in seconds(runs, rounds, budget).items()}
        case = f"d {d}, n {n}, r {r}, {tokens} token{'s' * (tokens > 1)}"
        limit = {8: 1.2, 28: 1.3}[n] if d >= 2048 else {8: 1.3, 28: 1.6}[n]
        predicted = (1 + 3 * n * r / d) / (1 + 2 * r / d)
        ours = f"MeteoRA, {case}"
        rows.append(row(ours, "plain base linear", took["meteora"], took["base"], "µs"))
        rows.append(row(ours, f"{limit} × PEFT LoRA", took["meteora"], took["lora"] * limit, "µs"))
        for peer in ("PEFT Arrow", "Mixtral-style loop", "MeteoRA's bmm gather"):
            rows.append(row(ours, peer, took["meteora"], took[peer], "µs"))
        ours = f"SMoRA, {case}"
        rows.append(row(ours, "plain base linear", took["smora"], took["base"], "µs"))
        peer = f"1.25 × {predicted:.2f} (FLOPs) × PEFT LoRA"
        rows.append(row(ours, peer, took["smora"], took["lora"] * predicted * 1.25, "µs"))
        rows.append(row(ours, "SMoRA's indexed products", took["smora"], took["SMoRA's indexed products"], "µs"))
    return rows


def smollm2(depth: int) -> LlamaForCausalLM:
    """A model of SmolLM2-135M's shape, random: what it costs does not depend on what it says."""
    config = LlamaConfig(
        vocab_size=49152,
        hidden_size=576,
        intermediate_size=1536,
        num_hidden_layers=depth,
        num_attention_heads=9,
        num_key_value_heads=3,
        tie_word_embeddings=True,
    )
    torch.manual_seed(0)
    return LlamaForCausalLM(config).eval()


def mixtures(depth: int, n: int, r: int, folder: Path) -> dict[str, nn.Module]:
    """Whole models: bare, with one LoRA of PEFT, ours, and PEFT's own mixtures of the same LoRAs."""
    folders = [save_lora(smollm2(depth), folder / str(i), r) for i in range(n)]
    experts = [{"name": f"e{i}", "r": r, "lora_alpha": 2 * r} for i in range(n)]
    single = LoraConfig(r=r, lora_alpha=2 * r, target_modules=TARGETS, init_lora_weights=False)
    x = XLoraConfig(
        task_type="CAUSAL_LM",
        hidden_size=576,
        xlora_depth=1,
        adapters={str(i): f for i, f in enumerate(folders)},
        top_k_lora=K,
    )
    bare = smollm2(depth)
    bare.config.use_cache = False
    found: dict[str, nn.Module] = {
        "base": smollm2(depth),
        "PEFT LoRA": get_peft_model(smollm2(depth), single),
        "MeteoRA": get_peft_model(smollm2(depth), moe.MeteoraConfig(experts=experts, target_modules=TARGETS)),
        "SMoRA": get_peft_model(smollm2(depth), moe.SmoraConfig(experts=experts, target_modules=TARGETS, activate_r=r)),
        "PEFT Arrow": create_arrow_model(smollm2(depth), folders, ArrowConfig(top_k=K)),
        "PEFT X-LoRA": get_peft_model(bare, x),
    }
    for model in found.values():
        model.eval().requires_grad_(False)
    return found


def model_rows(depth: int, n: int, r: int, prompt: int, answer: int, rounds: int) -> list[dict]:
    """Tokens per CPU second of reading a prompt, and of writing after it (X-LoRA can't keep a cache)."""
    ids = torch.randint(3, 49152, (1, prompt), generator=torch.Generator().manual_seed(0))
    case = f"SmolLM2-135M's shape, {depth} layers, n {n}, r {r}"
    rows = []
    with tempfile.TemporaryDirectory() as name:
        models = mixtures(depth, n, r, Path(name))
    reads: Runs = {who: lambda model=model: model(input_ids=ids) for who, model in models.items()}
    writes: Runs = {
        who: lambda model=model, who=who: model.generate(
            input_ids=ids,
            max_new_tokens=answer,
            min_new_tokens=answer,
            do_sample=False,
            use_cache=who != "PEFT X-LoRA",
            pad_token_id=0,
        )
        for who, model in models.items()
    }
    reading, whole = seconds(reads, rounds, 0.0), seconds(writes, rounds, 0.0)
    writing = {who: s - reading[who] for who, s in whole.items()}
    for what, took, tokens in (("reading", reading, prompt), ("writing", writing, answer)):
        speed = {who: tokens / s for who, s in took.items()}
        for ours in ("MeteoRA", "SMoRA"):
            for peer in ("base", "PEFT LoRA", "PEFT Arrow", "PEFT X-LoRA"):
                label = f"{ours}, {case}, {what} {tokens} tokens"
                entry = row(label, peer, speed[ours], speed[peer], "tokens/s")
                rows.append({**entry, "ratio": speed[ours] / speed[peer]})
    return rows


def keep(rows: list[dict], file: Path | None) -> None:
    """Write what there is so far."""
    if file:
        file.write_text(json.dumps(rows, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="under a minute: one width, fewer layers and rounds")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows as JSON")
    arguments = parser.parse_args()
    widths, ranks = ([1024], [8]) if arguments.quick else ([1024, 2048, 4096], [8, 16])
    rounds, budget = (5, 0.01) if arguments.quick else (9, 0.03)
    depth, prompt, answer = (4, 64, 8) if arguments.quick else (30, 256, 16)
    rows: list[dict] = []
    with torch.no_grad():
        for d, n, r in itertools.product(widths, (8, 28), ranks):
            rows += layer_rows(d, n, r, [1, 16, 512], rounds, budget)
            keep(rows, arguments.json)
        rows += model_rows(depth, 8, 8, prompt, answer, 2 if arguments.quick else 3)
        keep(rows, arguments.json)
    width, peers = (max(len(r[key]) for r in rows) for key in ("case", "peer"))
    print(f"{'case':{width}}  {'peer':{peers}} {'ours':>9} {'theirs':>9} {'ratio':>8}")
    for r in rows:
        figures = f"{r['ours']:9.4g} {r['theirs']:9.4g} {r['ratio']:7.2f}×"
        print(f"{r['case']:{width}}  {r['peer']:{peers}} {figures}  {r['unit']}")
    missed = [r for r in rows if r["ratio"] < 1 and r["peer"] not in ("plain base linear", "base", "PEFT LoRA")]
    print(f"{len(rows)} rows; below a limit or behind a peer: {len(missed)}")
    for r in missed:
        print(f"  {r['case']}: {r['ratio']:.2f} of {r['peer']}")


if __name__ == "__main__":
    main()
