"""Mixtures of stored LoRAs as PEFT adapters: import this file once, then PEFT loads `METEORA` and `SMORA` folders.

    import lora_moe_peft
    model = PeftModel.from_pretrained(base, "folder")

It needs torch and peft and stands alone: a copy of it lies in every assembly. n LoRAs are stored stacked and unscaled,
A = [A_1; …; A_n] [R, in] and B = [B_1, …, B_n] [out, R] with R = Σ r_i, their scales s_i = α_i/r_i (rsLoRA: α_i/√r_i)
in the config; so each can be cut out again with its own bits. For every token x of every module:

MeteoRA (arXiv:2405.13053): l = W_g x, I = the top_k of l, w = softmax(l_I / temperature),
    y = W_0 x + Σ_{i∈I} w_i s_i B_i A_i x                                               W_g = meteora_gate [n, in]

SMoRA (arXiv:2501.15103): s = σ(W_r x), each entry for rank_partition ranks; q = s + b; I = the activate_r largest of q,
    g_j = activate_r · v_j / Σ_I v  for j in I, else 0     (v = q, or s where bias_in_gate is false)
    y = W_0 x + B (c ∘ g ∘ A x)     c = each rank's s_i    W_r = smora_gate [R/p, in], b = smora_bias [R]

The parameters keep the dtype of the file; the router computes in its gate's, under autocast too, where the experts
take autocast's. Of equal logits the first counts as the larger, for one token and for many. A and B are frozen unless
`trained` says "experts" or "full". Per-token routing has no single ΔW, so merging raises.

One mixture has four formulations, equal but for the order of sums; `MoELinear.form` names the wanted one, None lets
the layer choose by what was measured (on a CPU without gradients, else always `stack`):
    loop    every expert on all tokens, exactly as PEFT runs a LoRA: the reference
    slice   for each token the blocks (SMoRA: the ranks) it chose: little memory is read, for few tokens
    stack   B (factors ∘ A x) with a factor per token and rank: three GEMMs, no shape depends on data
    sorted  tokens in the order of their experts, one small GEMM pair for each (SMoRA has none)
On a GPU a few tokens of MeteoRA may go through `decode_kernel`, where someone set it.
"""

import contextlib
import math
import warnings
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from peft import PeftConfig
from peft.tuners._buffer_dict import BufferDict
from peft.tuners.tuners_utils import BaseTuner, BaseTunerLayer, _get_in_out_features
from peft.utils import register_peft_method
from peft.utils.peft_types import PeftType
from torch import Tensor, nn

FORMAT_VERSION = 1
TRAINED = ("prototype", "router", "experts", "full")
decode_kernel: Callable[..., None] | None = None
"""Adds up to 16 tokens' share in place on a GPU: (x, out, A, B, chosen, weights, blocks). None: the stack form."""


def _peft_type(name: str) -> PeftType:
    """The member of PEFT's closed enum, added where it is missing."""
    if name not in PeftType.__members__:
        member = str.__new__(PeftType, name)
        member._name_, member._value_ = name, name
        type.__setattr__(PeftType, name, member)
        PeftType._member_names_.append(name)
        PeftType._member_map_[name] = member
        PeftType._value2member_map_[name] = member
    return PeftType[name]


METEORA, SMORA = _peft_type("METEORA"), _peft_type("SMORA")


@dataclass
class MoEConfig(PeftConfig):
    """What both mixtures share. `experts`: one dict a LoRA with name, r, lora_alpha, use_rslora or scale, and origins.

    `rank_pattern` {module: [r_1 … r_n]} (0: the expert has no part there) and `scale_pattern` {module: [s_1 … s_n]}
    hold for modules where ranks or scales differ from the experts' own. With `router_abs` logits are |W x|: gates made
    of singular vectors, whose sign means nothing.
    """

    target_modules: list[str] | str | None = None
    exclude_modules: list[str] | str | None = None
    modules_to_save: list[str] | None = None
    experts: list[dict[str, Any]] = field(default_factory=list)
    rank_pattern: dict[str, list[int]] = field(default_factory=dict)
    scale_pattern: dict[str, list[float]] = field(default_factory=dict)
    trained: str = "router"
    router_abs: bool = False
    format_version: int = FORMAT_VERSION

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.format_version > FORMAT_VERSION:
            raise ValueError(
                f"The mixture has format_version {self.format_version}; this loader knows {FORMAT_VERSION}. "
                "Use the lora_moe_peft.py that lies beside it."
            )
        if not self.experts:
            raise ValueError("A mixture needs `experts`: one dict with name, r and lora_alpha for each LoRA.")
        if self.trained not in TRAINED:
            raise ValueError(f"`trained` is {self.trained!r}; expected one of {', '.join(TRAINED)}.")
        if self.modules_to_save:
            raise ValueError("modules_to_save has no meaning under per-token routing; leave it out.")
        for name, pattern in (("rank_pattern", self.rank_pattern), ("scale_pattern", self.scale_pattern)):
            for module, values in pattern.items():
                if len(values) != len(self.experts):
                    raise ValueError(f"{name} of {module} has {len(values)} entries for {len(self.experts)} experts.")

    def to_dict(self) -> dict[str, Any]:
        return {key: sorted(v) if isinstance(v, set) else v for key, v in super().to_dict().items()}

    def ranks(self, module: str) -> list[int]:
        """[n]: each expert's rank in this module."""
        return list(_entry(self.rank_pattern, module) or [int(expert["r"]) for expert in self.experts])

    def scales(self, module: str) -> list[float]:
        """[n]: each expert's s_i: of scale_pattern, else its `scale`, else α/r (rsLoRA: α/√r) with r of this module."""
        given = _entry(self.scale_pattern, module)
        if given is not None:
            return [float(scale) for scale in given]
        return [_scale(expert, rank) for expert, rank in zip(self.experts, self.ranks(module), strict=True)]


def _entry(pattern: dict[str, list], module: str) -> list | None:
    """The pattern's entry; where the model is wrapped in, or is a part of, the one it was written for: by its end."""
    if module in pattern:
        return pattern[module]
    return next((v for key, v in pattern.items() if key.endswith("." + module) or module.endswith("." + key)), None)


def _scale(expert: dict[str, Any], rank: int) -> float:
    if expert.get("scale") is not None:
        return float(expert["scale"])
    divisor = math.sqrt(rank) if expert.get("use_rslora") else rank
    return float(expert["lora_alpha"]) / divisor if rank else 0.0


@dataclass
class MeteoraConfig(MoEConfig):
    """Adapters are experts: `top_k` of them a token, weights by softmax over their logits / `router_temperature`."""

    top_k: int = 2
    router_temperature: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.peft_type = METEORA
        if not 1 <= self.top_k <= len(self.experts):
            raise ValueError(f"top_k is {self.top_k}; expected 1 to {len(self.experts)}, the number of experts.")
        if not self.router_temperature > 0:
            raise ValueError(f"router_temperature is {self.router_temperature}; expected more than 0.")


@dataclass
class SmoraConfig(MoEConfig):
    """Ranks are experts: `activate_r` of them a token; `rank_partition` neighbouring ranks share one router row."""

    activate_r: int = 8
    rank_partition: int = 1
    bias_in_gate: bool = True
    rank_basis: str = "as_trained"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.peft_type = SMORA
        if self.activate_r < 1 or self.rank_partition < 1:
            raise ValueError(
                f"activate_r is {self.activate_r}, rank_partition {self.rank_partition}; both must be 1 or more."
            )


@dataclass
class Blocks:
    """The blocks of one module: ranks and scales of its experts, and the scales spread over the R ranks."""

    config: Any
    ranks: list[int]
    scales: list[float]

    def __post_init__(self) -> None:
        self.total = sum(self.ranks)
        self.offsets = [sum(self.ranks[:i]) for i in range(len(self.ranks))]
        self.scale = self.scales[0] if len(set(self.scales)) == 1 else None
        self._tensors: dict[torch.device, tuple[Tensor, Tensor]] = {}

    def spread(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """(owner [R] int64, c [R] float32): the expert of every rank and that expert's scale."""
        if device not in self._tensors:
            owner = torch.repeat_interleave(torch.arange(len(self.ranks)), torch.tensor(self.ranks))
            scales = torch.tensor(self.scales, dtype=torch.float32)[owner]
            self._tensors[device] = owner.to(device), scales.to(device)
        return self._tensors[device]


def _router(x: Tensor, gate: Tensor) -> Tensor:
    """W x: of x [T, in] and gate [rows, in] the logits [T, rows] in float32, computed in the gate's dtype."""
    x = x if x.dtype == gate.dtype else x.to(gate.dtype)
    if not _autocast(x):
        return nn.functional.linear(x, gate).float()
    with torch.autocast(x.device.type, enabled=False):
        return nn.functional.linear(x, gate).float()


def _autocast(x: Tensor) -> bool:
    """Whether products with x are cast to a lower precision."""
    return torch.is_autocast_enabled(x.device.type)


FEW = 4096


def largest(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """(values [T, k], places [T, k]) of the k largest of scores [T, rows] float32; of equal ones the first.

    torch.topk gives any of them, and another one for another number of rows. Where sorting is slow, scores are turned
    into whole numbers of the same order, with the place behind them.
    """
    rows = scores.shape[-1]
    if rows <= 16 or torch.compiler.is_compiling() or scores.numel() <= FEW:
        values, places = scores.sort(dim=-1, descending=True, stable=True)
        return values[..., :k], places[..., :k]
    bits = (scores.detach() + 0.0).view(torch.int32)  # -0.0 becomes 0.0
    keys = (bits ^ ((bits >> 31) & 0x7FFFFFFF)).long() * 2**32 + torch.arange(rows - 1, -1, -1, device=bits.device)
    places = keys.topk(k, dim=-1).indices
    return scores.gather(-1, places), places


class RouterGroup:
    """Layers that usually read the same tensor: their gates lie in one storage, their logits come from one GEMM.

    What the first layer computes for the others is handed out only for the very same tensor object, unchanged since
    (by autograd's version counters, of input and gate), once, and never while gradients are wanted. On a CPU this pays
    for the narrow gates of MeteoRA from `share_from` tokens on; below, and for SMoRA's, the single products are faster.
    """

    def __init__(self, members: list["MoELinear"]) -> None:
        self.members = members
        self.packs: dict[str, tuple[Tensor, list[Tensor], list[int], list[int]]] = {}
        self.state: tuple[weakref.ref, int, str, dict[int, tuple[int, Tensor]]] | None = None

    def logits(self, x: Tensor, gate: Tensor, adapter: str) -> Tensor | None:
        """The logits [T, rows] of the layer with this gate, or None where nothing can be shared."""
        if x.is_inference() or torch.is_inference_mode_enabled():
            return None  # such tensors count no versions
        state, version = self.state, x._version
        if state is not None and state[0]() is x and state[1] == version and state[2] == adapter:
            found = state[3].pop(id(gate), None)
            if found is not None and found[0] == gate._version:
                return found[1]
        own = [member.weights(adapter)[2] for member in self.members if adapter in member.blocks]
        gates = self.pack(own, adapter) if len(own) > 1 else None
        if gates is None:
            return None
        parts = _router(x.reshape(-1, x.shape[-1]), gates).split(self.packs[adapter][3], -1)
        known = {id(g): (g._version, part) for g, part in zip(own, parts, strict=True)}
        self.state = (weakref.ref(x), version, adapter, known)
        return known.pop(id(gate))[1]

    def pack(self, own: list[Tensor], adapter: str) -> Tensor | None:
        """All gates as one tensor [Σ rows, in], of which the parameters are views: an edit of one is seen here."""
        pack = self.packs.get(adapter)
        if pack is not None and len(own) == len(pack[1]):
            gates, known, places, _ = pack
            for gate, same, place in zip(own, known, places, strict=True):
                if gate is not same or gate.data_ptr() != place:
                    break
            else:
                return gates
        if len({(gate.dtype, gate.device) for gate in own}) > 1:
            return None
        rows = [gate.shape[0] for gate in own]
        gates = torch.cat([gate.detach() for gate in own])
        for gate, view in zip(own, gates.split(rows), strict=True):
            gate.data = view
        self.packs[adapter] = (gates, own, [gate.data_ptr() for gate in own], rows)
        return gates

    def __getstate__(self) -> dict[str, Any]:
        return {"members": self.members}

    def __setstate__(self, state: dict[str, Any]) -> None:
        RouterGroup.__init__(self, state["members"])


class MoELinear(nn.Module, BaseTunerLayer):
    """A linear layer with a mixture on it; MeteoraLinear and SmoraLinear say how a token is routed."""

    mixes_adapters = True
    prefix = ""
    other_param_names: tuple[str, ...] = ("blocks",)
    form: str | None = None
    share_from: float = 24
    logits_asked = False
    last_logits: Tensor | None
    last_experts: Tensor | None
    last_weights: Tensor | None

    def __init__(self, base_layer: nn.Module, adapter_name: str, config: MoEConfig, module: str) -> None:
        super().__init__()
        self.base_layer = base_layer
        width, height = _get_in_out_features(self.get_base_layer())
        self.in_features, self.out_features = int(width), int(height)  # type: ignore[arg-type]
        self.blocks: dict[str, Blocks] = {}
        self.group: RouterGroup | None = None
        self.routing: Routing | None = None
        self.last_logits = self.last_experts = self.last_weights = None
        self.frozen_peft_weight_names = {}
        self._disable_adapters, self.merged_adapters = False, []
        self.add_containers()
        self._active_adapter = adapter_name
        self.update_layer(adapter_name, config, module)

    def add_containers(self) -> None:
        for name in self.adapter_layer_names:
            setattr(self, name, nn.ParameterDict())

    @property
    def A(self) -> nn.ParameterDict:
        """{adapter: [R, in]}."""
        return getattr(self, self.prefix + "A")

    @property
    def B(self) -> nn.ParameterDict:
        """{adapter: [out, R]}, laid out so that the columns of an expert are contiguous."""
        return getattr(self, self.prefix + "B")

    @property
    def gate(self) -> nn.ParameterDict:
        """{adapter: [n or R/p, in]}."""
        return getattr(self, self.prefix + "gate")

    def weights(self, adapter: str) -> tuple[Tensor, Tensor, Tensor]:
        """(A, B, gate), without the look-ups of nn.Module, which cost as much as a small product."""
        held, (a, b, gate) = self._modules, self.adapter_layer_names
        return held[a]._parameters[adapter], held[b]._parameters[adapter], held[gate]._parameters[adapter]  # type: ignore

    def update_layer(self, adapter_name: str, config: MoEConfig, module: str) -> None:
        """Make the parameters of one mixture: gate and A as nn.Linear starts them, B zero."""
        blocks = self.blocks[adapter_name] = Blocks(config, config.ranks(module), config.scales(module))
        bound = 1 / math.sqrt(self.in_features)
        for container, rows in ((self.A, blocks.total), (self.gate, self.gate_rows(blocks))):
            container[adapter_name] = nn.Parameter(torch.empty(rows, self.in_features).uniform_(-bound, bound))
        self.B[adapter_name] = nn.Parameter(torch.zeros(blocks.total, self.out_features).t())
        if config.trained not in ("experts", "full"):
            self.frozen_peft_weight_names[adapter_name] = (self.prefix + "A", self.prefix + "B")
        self._move_adapter_to_device_of_base_layer(adapter_name)
        self.set_adapter(self.active_adapters, inference_mode=config.inference_mode)

    def _move_adapter_to_device_of_base_layer(self, adapter_name: str, device: torch.device | None = None) -> None:
        """As PEFT's, but the dtype stays: experts keep their bits."""
        place = device or next((t.device for t in self.get_base_layer().parameters()), None)
        for name in (*self.adapter_layer_names, *self.other_param_names):
            held = getattr(self, name)
            if (
                isinstance(held, nn.ParameterDict | BufferDict)
                and adapter_name in held
                and not held[adapter_name].is_meta
            ):
                held[adapter_name] = held[adapter_name].to(place)

    def gate_rows(self, blocks: Blocks) -> int:
        raise NotImplementedError

    def route(self, logits: Tensor, adapter: str) -> tuple[Tensor, Tensor]:
        """Of logits [T, rows]: the chosen experts (or ranks) [T, k] int64 and their weights [T, k] float32."""
        raise NotImplementedError

    def rank_factors(self, chosen: Tensor, weights: Tensor, blocks: Blocks) -> Tensor:
        """The routing as one factor a rank, scales included: [T, R] float32."""
        raise NotImplementedError

    def choose(self, tokens: int, blocks: Blocks, dtype: torch.dtype) -> str:
        """The fastest formulation for this many tokens on a CPU."""
        raise NotImplementedError

    def add_slices(self, x: Tensor, out: Tensor, A: Tensor, B: Tensor, logits: Tensor, adapter: str) -> None:
        """Add the mixture to out [T, out] in place, token by token."""
        raise NotImplementedError

    def add_sorted(
        self, x: Tensor, out: Tensor, A: Tensor, B: Tensor, chosen: Tensor, weights: Tensor, blocks: Blocks, eager: bool
    ) -> Tensor:
        """out [T, out] plus the mixture, expert by expert; in place where `eager`."""
        raise NotImplementedError

    def router_logits(self, x: Tensor, adapter: str | None = None) -> Tensor:
        """W x of the router (|W x| with router_abs): [tokens, n or R/p], float32."""
        adapter = adapter or self.active_adapters[0]
        self.logits_asked = self.logits_asked or torch.is_grad_enabled()
        logits = _router(x.reshape(-1, self.in_features), self.gate[adapter])
        return logits.abs() if self.blocks[adapter].config.router_abs else logits

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        result = self.base_layer(x, *args, **kwargs)
        if not self._disable_adapters:
            for adapter in self.active_adapters:
                if adapter in self.blocks:
                    result = self.mix(x, result, adapter)
        return result

    def mix(self, x: Tensor, result: Tensor, adapter: str) -> Tensor:
        """The base's output plus the mixture's."""
        blocks, (A, B, gate) = self.blocks[adapter], self.weights(adapter)
        if not blocks.total:
            return result
        trains = torch.is_grad_enabled() and any(t.requires_grad for t in (x, result, gate, A, B))
        runs = not trains and not torch.compiler.is_compiling()
        eager = runs and x.device.type == "cpu" and not _autocast(x)  # products in place are not cast
        flat = x.reshape(-1, self.in_features)
        logits = None
        if runs and self.group is not None and (flat.shape[0] >= self.share_from or not eager):
            logits = self.group.logits(x, gate, adapter)
        if logits is None:
            logits = _router(flat, gate)
        if blocks.config.router_abs:
            logits = logits.abs()
        if self.routing is not None:
            self.routing.keep(self, logits, *self.route(logits, adapter))
        form = self.form or (self.choose(flat.shape[0], blocks, A.dtype) if eager else "stack")
        if form == "slice" and not eager:
            form = "stack"
        if decode_kernel is not None and x.is_cuda and not trains and flat.shape[0] <= 16 and self.prefix == "meteora_":
            form = self.form or "kernel"
        out = result.reshape(-1, self.out_features)
        if not x.dtype == A.dtype == B.dtype == out.dtype:
            dtype = torch.promote_types(x.dtype, A.dtype)
            flat, A, B, out = flat.to(dtype), A.to(dtype), B.to(dtype), out.to(dtype)
        if eager and (type(self.base_layer) is not nn.Linear or self.base_layer._forward_hooks):
            out = out.clone()
        if form == "slice":
            self.add_slices(flat, out, A, B, logits, adapter)
        else:
            chosen, weights = self.route(logits, adapter)
            if form == "sorted":
                out = self.add_sorted(flat, out, A, B, chosen, weights.to(A.dtype), blocks, eager)
            elif form == "kernel" and decode_kernel is not None:
                out = out.clone()
                decode_kernel(flat, out, A, B, chosen, weights, blocks)
            elif form == "loop":
                out = self.loop(flat, out, A, B, self.rank_factors(chosen, weights, blocks).to(A.dtype), blocks)
            else:
                hidden = nn.functional.linear(flat, A)
                factors = self.rank_factors(chosen, weights, blocks)
                hidden = hidden.mul_(factors) if eager else hidden * factors.to(A.dtype)
                out = torch.addmm(out, hidden, B.t(), out=out if eager else None)
        return out.to(result.dtype).reshape(result.shape)

    def loop(self, x: Tensor, out: Tensor, A: Tensor, B: Tensor, factors: Tensor, blocks: Blocks) -> Tensor:
        """out + Σ_i of what PEFT adds for LoRA i, weighted by the token."""
        for rank, offset, scale in zip(blocks.ranks, blocks.offsets, blocks.scales, strict=True):
            if rank and scale:
                block = slice(offset, offset + rank)
                hidden = nn.functional.linear(x, A[block]) * (factors[:, block] / scale)
                out = out + nn.functional.linear(hidden, B[:, block].contiguous()) * scale
        return out

    def merge(self, safe_merge: bool = False, adapter_names: list[str] | None = None) -> None:
        raise ValueError(UNMERGEABLE)

    def unmerge(self) -> None:
        raise ValueError(UNMERGEABLE)


UNMERGEABLE = (
    "A mixture routes every token by itself, so there is no single weight it could be merged into. Keep it as an "
    "adapter, or export one expert, or the concatenation of all, as a plain LoRA and merge that."
)


TOP_1 = (
    "With top_k = 1 the chosen expert's weight is 1, a constant: the language loss gives MeteoRA's gates no gradient, "
    "so training on it alone teaches the router nothing. Add the gate loss, the cross-entropy of each layer's logits "
    "to the expert that the row belongs to (`with record_routing(model, logits=True) as routing:` keeps them, and so "
    "does `layer.router_logits(x)`), or use top_k = 2."
)


class _Top1(torch.autograd.Function):
    """The identity; a backward pass that comes here says why it can't go on to the gate: an error where it is `alone`,
    with nothing else behind it to learn."""

    @staticmethod
    def forward(ctx: Any, out: Tensor, gate: Tensor, layer: "MeteoraLinear", alone: bool) -> Tensor:
        ctx.layer, ctx.alone = layer, alone
        return out.view_as(out)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:  # type: ignore[override]
        if not ctx.layer.logits_asked:
            if ctx.alone:
                raise RuntimeError(TOP_1)
            warnings.warn(TOP_1, stacklevel=2)
        return gradients[0], None, None, None


class MeteoraLinear(MoELinear):
    """y = W_0 x + Σ_{i∈I} w_i s_i B_i A_i x."""

    prefix = "meteora_"
    adapter_layer_names = ("meteora_A", "meteora_B", "meteora_gate")

    def mix(self, x: Tensor, result: Tensor, adapter: str) -> Tensor:
        out = super().mix(x, result, adapter)
        if self.blocks[adapter].config.top_k > 1 or not torch.is_grad_enabled() or torch.compiler.is_compiling():
            return out
        gate = self.weights(adapter)[2]
        if not gate.requires_grad or self.routing is not None or not self.blocks[adapter].total:
            return out
        return _Top1.apply(out, gate, self, not out.requires_grad)  # type: ignore[no-any-return]

    def gate_rows(self, blocks: Blocks) -> int:
        return len(blocks.ranks)

    def route(self, logits: Tensor, adapter: str) -> tuple[Tensor, Tensor]:
        config = self.blocks[adapter].config
        values, experts = largest(logits, config.top_k)
        if config.top_k == 1:  # a constant: no gradient, and autograd leaves the base's backward out
            return experts, torch.ones_like(values)
        return experts, (values / config.router_temperature).softmax(-1)

    def rank_factors(self, chosen: Tensor, weights: Tensor, blocks: Blocks) -> Tensor:
        owner, scale = blocks.spread(weights.device)
        dense = weights.new_zeros(len(weights), len(blocks.ranks)).scatter(1, chosen, weights)
        return dense.index_select(1, owner) * scale

    def choose(self, tokens: int, blocks: Blocks, dtype: torch.dtype) -> str:
        work = blocks.total * self.in_features
        if tokens <= (16 if work > 2e5 else 4):
            return "slice"
        heavy = work + 1024 * blocks.total > 2.4e5 and dtype == torch.float32
        return "sorted" if heavy and tokens > 24 else "stack"

    def few(self, logits: Tensor, adapter: str) -> tuple[list[list[int]], list[list[float]]]:
        """`route` as lists; for up to four tokens without torch, whose calls cost more than the arithmetic."""
        if logits.shape[0] > 4:
            experts, weights = self.route(logits, adapter)
            return experts.tolist(), weights.tolist()
        config = self.blocks[adapter].config
        chosen, shares = [], []
        for scores in logits.tolist():
            best = sorted(range(len(scores)), key=scores.__getitem__, reverse=True)[: config.top_k]
            powers = [math.exp((scores[i] - scores[best[0]]) / config.router_temperature) for i in best]
            total = sum(powers)
            chosen.append(best)
            shares.append([power / total for power in powers])
        return chosen, shares

    def add_slices(self, x: Tensor, out: Tensor, A: Tensor, B: Tensor, logits: Tensor, adapter: str) -> None:
        blocks, tasks = self.blocks[adapter], []
        for t, (experts, weights) in enumerate(zip(*self.few(logits, adapter), strict=True)):
            tasks += [(i, t, w * blocks.scales[i]) for i, w in zip(experts, weights, strict=True) if blocks.ranks[i]]
        inputs, rows, last = x.unbind(), out.unbind(), -1
        for i, t, strength in sorted(tasks):  # a block that several tokens chose is read while it is in the cache
            if i != last:
                block = slice(blocks.offsets[i], blocks.offsets[i] + blocks.ranks[i])
                down, up, last = A[block], B[:, block], i
            rows[t].addmv_(up, torch.mv(down, inputs[t]), alpha=strength)

    def add_sorted(
        self, x: Tensor, out: Tensor, A: Tensor, B: Tensor, chosen: Tensor, weights: Tensor, blocks: Blocks, eager: bool
    ) -> Tensor:
        order = chosen.flatten().argsort()
        token = order // chosen.shape[1]
        sizes = torch.bincount(chosen.flatten(), minlength=len(blocks.ranks)).tolist()
        tokens, strengths = token.split(sizes), weights.flatten()[order, None].split(sizes)
        out = out if eager else out.clone()
        for i, (rank, offset) in enumerate(zip(blocks.ranks, blocks.offsets, strict=True)):
            if sizes[i] and rank:
                hidden = nn.functional.linear(x.index_select(0, tokens[i]), A[offset : offset + rank])
                hidden = hidden * (strengths[i] * blocks.scales[i])
                out.index_add_(0, tokens[i], (hidden @ B[:, offset : offset + rank].t()).to(out.dtype))
        return out


class SmoraLinear(MoELinear):
    """y = W_0 x + B (c ∘ g ∘ A x)."""

    prefix = "smora_"
    share_from = math.inf
    adapter_layer_names = ("smora_A", "smora_B", "smora_gate")
    other_param_names = ("blocks", "smora_bias")

    def add_containers(self) -> None:
        super().add_containers()
        self.smora_bias = BufferDict(persistent=True)

    def update_layer(self, adapter_name: str, config: MoEConfig, module: str) -> None:
        self.smora_bias[adapter_name] = torch.zeros(sum(config.ranks(module)))
        super().update_layer(adapter_name, config, module)

    def gate_rows(self, blocks: Blocks) -> int:
        p = blocks.config.rank_partition
        if blocks.total % p:
            raise ValueError(f"rank_partition {p} does not divide the {blocks.total} ranks of this module; use 1.")
        return blocks.total // p

    def gates(self, logits: Tensor, adapter: str) -> tuple[Tensor, Tensor]:
        """(v [T, k], ranks [T, k]): the chosen ranks and their gate values before they are scaled to mean 1."""
        config, bias = self.blocks[adapter].config, self.smora_bias[adapter]
        scores = logits.sigmoid()
        if config.rank_partition > 1:
            scores = scores.repeat_interleave(config.rank_partition, dim=-1)
        values, ranks = largest(scores + bias, min(config.activate_r, scores.shape[-1]))
        return values if config.bias_in_gate else scores.gather(-1, ranks), ranks

    def route(self, logits: Tensor, adapter: str) -> tuple[Tensor, Tensor]:
        values, ranks = self.gates(logits, adapter)
        return ranks, values * (values.shape[-1] / values.sum(-1, keepdim=True))

    def rank_factors(self, chosen: Tensor, weights: Tensor, blocks: Blocks) -> Tensor:
        factors = weights.new_zeros(len(weights), blocks.total).scatter(1, chosen, weights)
        return factors * (blocks.spread(weights.device)[1] if blocks.scale is None else blocks.scale)

    def choose(self, tokens: int, blocks: Blocks, dtype: torch.dtype) -> str:
        work = blocks.total * self.in_features
        return "slice" if tokens <= (16 if work > 2e5 else 4 if work > 1e5 else 2) else "stack"

    def add_slices(self, x: Tensor, out: Tensor, A: Tensor, B: Tensor, logits: Tensor, adapter: str) -> None:
        blocks, columns = self.blocks[adapter], B.t()
        values, chosen = self.gates(logits, adapter)
        values = values.to(x.dtype)
        for t, gates in enumerate(values.tolist()):
            ranks = chosen[t]
            hidden = torch.mv(A.index_select(0, ranks), x[t]).mul_(values[t])
            strength = len(gates) / sum(gates)
            if blocks.scale is None:
                hidden.mul_(blocks.spread(x.device)[1].index_select(0, ranks))
            else:
                strength *= blocks.scale
            out[t].addmv_(columns.index_select(0, ranks).t(), hidden, alpha=strength)

    @torch.no_grad()
    def update_bias(self, experts: Tensor, rate: float = 1e-5, adapter: str | None = None) -> None:
        """The loss-free balancing of one batch, from the ranks [T, k] it chose: b_j += rate · sign(mean(c) − c_j)."""
        bias = self.smora_bias[adapter or self.active_adapters[0]]
        counts = torch.bincount(experts.flatten(), minlength=len(bias)).float()
        bias += (rate * (counts.mean() - counts).sign()).to(bias)


SHARED = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"), ("query", "key", "value"), ("w1", "w3"))
"""Names of sibling modules that read the same tensor in most models; a wrong guess costs time, never the answer."""


def _share_router(parent: nn.Module, name: str) -> None:
    """Put the layer `name` of a parent into one group with those siblings that usually read the same input."""
    for names in SHARED:
        layers = [layer for n in names if isinstance(layer := getattr(parent, n, None), MoELinear)]
        if name in names and len(layers) > 1 and len({layer.in_features for layer in layers}) == 1:
            group = RouterGroup(layers)
            for layer in layers:
                layer.group = group


class MoEModel(BaseTuner):
    """Puts the layers in place; PEFT's own code saves, loads and switches them."""

    tuner_layer_cls = MoELinear
    target_module_mapping: dict[str, list[str]] = {}

    def _create_and_replace(
        self,
        peft_config: Any,
        adapter_name: str,
        target: nn.Module,
        target_name: str,
        parent: nn.Module,
        current_key: str,
        parameter_name: str | None = None,
    ) -> None:
        if isinstance(target, self.tuner_layer_cls):
            target.update_layer(adapter_name, peft_config, current_key)
            return
        if _get_in_out_features(target)[0] is None or isinstance(target, nn.Embedding):
            raise TypeError(f"{current_key} is a {type(target).__name__}; mixtures fit linear layers only.")
        layer = self.tuner_layer_cls(target, adapter_name, peft_config, current_key)
        if adapter_name not in self.active_adapters:
            layer.requires_grad_(False)
        self._replace_module(parent, target_name, layer, target)
        _share_router(parent, target_name)

    def _check_merge_allowed(self) -> None:
        raise ValueError(UNMERGEABLE)

    def _cast_adapter_dtype(self, adapter_name: str, autocast_adapter_dtype: bool = True) -> None:
        """Nothing: experts keep their own dtype."""

    @classmethod
    def _remap_adapter_state_dict_for_load(
        cls, model: nn.Module, config: PeftConfig, adapter_name: str, state_dict: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        """PEFT copies into what is there; so what is there takes the file's dtype first, and keeps the bits."""
        remapped = super()._remap_adapter_state_dict_for_load(model, config, adapter_name, state_dict)
        places = dict(model.named_parameters()) | dict(model.named_buffers())
        for key, tensor in remapped.items():
            if key in places and not places[key].is_meta and places[key].dtype != tensor.dtype:
                places[key].data = places[key].data.to(tensor.dtype)
        return remapped


class MeteoraModel(MoEModel):
    """PEFT's tuner for METEORA."""

    prefix = "meteora_"
    tuner_layer_cls = MeteoraLinear


class SmoraModel(MoEModel):
    """PEFT's tuner for SMORA."""

    prefix = "smora_"
    tuner_layer_cls = SmoraLinear


class Routing(dict[str, MoELinear]):
    """{module: layer} of a model, and what `record_routing` kept of each, over all its forward passes in order."""

    def __init__(self, layers: dict[str, MoELinear], logits: bool) -> None:
        super().__init__(layers)
        self.with_logits = logits
        self.kept: dict[int, list[tuple[Tensor, Tensor, Tensor | None]]] = {id(layer): [] for layer in layers.values()}

    def keep(self, layer: MoELinear, logits: Tensor, chosen: Tensor, weights: Tensor) -> None:
        layer.last_logits, layer.last_experts, layer.last_weights = logits, chosen, weights
        self.kept[id(layer)].append((chosen, weights.detach(), logits if self.with_logits else None))

    def experts(self, module: str) -> Tensor:
        """[tokens, k] int64: the experts (SMoRA: ranks) every token was sent to."""
        return torch.cat([chosen for chosen, _, _ in self.kept[id(self[module])]])

    def weights(self, module: str) -> Tensor:
        """[tokens, k] float32: their weights."""
        return torch.cat([weights for _, weights, _ in self.kept[id(self[module])]])

    def logits(self, module: str) -> Tensor:
        """[tokens, n or R/p] float32, with their graph; only of record_routing(model, logits=True)."""
        return torch.cat([logits for _, _, logits in self.kept[id(self[module])] if logits is not None])

    def clear(self) -> None:
        """Forget the passes so far; the modules stay."""
        for kept in self.kept.values():
            kept.clear()


@contextlib.contextmanager
def record_routing(model: nn.Module, *, logits: bool = False) -> Iterator[Routing]:
    """Within it every layer tells where it sends its tokens: `routing.experts(module)`, `.weights(module)`.

    Modules have their names in the base model. Each layer also holds `last_logits`, `last_experts`, `last_weights` of
    its last pass, the logits with their graph (None outside).
    """
    layers = {
        name.removeprefix("base_model.model."): layer
        for name, layer in model.named_modules()
        if getattr(layer, "mixes_adapters", False)  # also layers of another copy of this file
    }
    routing = Routing(layers, logits)
    outer = [layer.routing for layer in layers.values()]
    for layer in layers.values():
        layer.routing = routing
    try:
        yield routing
    finally:
        for layer, before in zip(layers.values(), outer, strict=True):
            layer.routing = before
            layer.last_logits = layer.last_experts = layer.last_weights = None


def _register() -> None:
    from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

    if METEORA not in PEFT_TYPE_TO_CONFIG_MAPPING:
        register_peft_method(name="meteora", config_cls=MeteoraConfig, model_cls=MeteoraModel)
        register_peft_method(name="smora", config_cls=SmoraConfig, model_cls=SmoraModel)


_register()
