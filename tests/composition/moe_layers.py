"""Layers with a mixture of random experts, and the slow references written from the formulas, token by token."""

from typing import Any

import torch
from torch import Tensor, nn

from composition.moe import lora_moe_peft as moe

RANKS, WIDTH, OUT = (4, 8, 2), 24, 20
SCALES = (2.0, 0.5, 3.0)


def experts(ranks: tuple[int, ...] = RANKS, scales: tuple[float, ...] | None = None) -> list[dict[str, Any]]:
    """Config entries; without `scales` those of SCALES, in turn."""
    scales = scales or tuple(SCALES[i % len(SCALES)] for i in range(len(ranks)))
    named = enumerate(zip(ranks, scales, strict=True))
    return [{"name": f"e{i}", "r": r, "lora_alpha": s * r, "use_rslora": False} for i, (r, s) in named]


def layer(
    kind: str = "meteora",
    *,
    ranks: tuple[int, ...] = RANKS,
    scales: tuple[float, ...] | None = None,
    dtype: torch.dtype = torch.float32,
    seed: int = 0,
    width: int = WIDTH,
    out: int = OUT,
    **config: Any,
) -> moe.MoELinear:
    """A mixture on a random nn.Linear with bias; all its parameters random, none frozen."""
    torch.manual_seed(seed)
    base = nn.Linear(width, out).to(dtype).requires_grad_(False)
    config_class, cls = {
        "meteora": (moe.MeteoraConfig, moe.MeteoraLinear),
        "smora": (moe.SmoraConfig, moe.SmoraLinear),
    }[kind]
    settings = {"experts": experts(ranks, scales), "trained": "full", **config}
    mixture = cls(base, "default", config_class(**settings), "q_proj")
    for parameter in (mixture.B["default"], mixture.gate["default"]):
        parameter.data.normal_()
    if isinstance(mixture, moe.SmoraLinear):
        mixture.smora_bias["default"].normal_(0, 0.1)
    return mixture


def reference(mixture: moe.MoELinear, x: Tensor) -> Tensor:
    """[…, out]: what the formulas say, one token after the other."""
    blocks = mixture.blocks["default"]
    A, B, gate = mixture.A["default"], mixture.B["default"], mixture.gate["default"]
    rows = []
    for token in x.reshape(-1, x.shape[-1]):
        y = mixture.base_layer(token)
        if isinstance(mixture, moe.MeteoraLinear):
            y = y + _meteora(token, A, B, gate, blocks)
        else:
            y = y + _smora(token, A, B, gate, mixture.smora_bias["default"], blocks)
        rows.append(y)
    return torch.stack(rows).reshape(*x.shape[:-1], -1)


def _meteora(token: Tensor, A: Tensor, B: Tensor, gate: Tensor, blocks: moe.Blocks) -> Tensor:
    logits = gate @ token
    chosen = logits.argsort(descending=True)[: blocks.config.top_k]
    powers = ((logits[chosen] - logits.max()) / blocks.config.router_temperature).exp()
    delta = torch.zeros(len(B))
    for i, weight in zip(chosen.tolist(), powers / powers.sum(), strict=True):
        here = slice(blocks.offsets[i], blocks.offsets[i] + blocks.ranks[i])
        delta = delta + weight * blocks.scales[i] * (B[:, here] @ (A[here] @ token))
    return delta


def _smora(token: Tensor, A: Tensor, B: Tensor, gate: Tensor, bias: Tensor, blocks: moe.Blocks) -> Tensor:
    config = blocks.config
    s = torch.sigmoid(gate @ token).repeat_interleave(config.rank_partition)
    q = s + bias
    k = min(config.activate_r, len(q))
    chosen = q.argsort(descending=True)[:k]
    value = q if config.bias_in_gate else s
    c = [scale for scale, rank in zip(blocks.scales, blocks.ranks, strict=True) for _ in range(rank)]
    delta = torch.zeros(len(B))
    for j in chosen.tolist():
        g = k * value[j] / value[chosen].sum()
        delta = delta + c[j] * g * (A[j] @ token) * B[:, j]
    return delta


def inputs(*shape: int, seed: int = 1) -> Tensor:
    """Standard normal tokens […, width]."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def route_to(mixture: moe.MoELinear, expert: int) -> Tensor:
    """Make every token choose this expert with weight exactly 1; the input's first entry must be 1."""
    mixture.gate["default"].data.zero_()
    mixture.gate["default"].data[expert, 0] = 1e6
    return mixture.gate["default"]
