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

The parameters keep the dtype of the file. A and B are frozen unless `trained` says "experts" or "full". Per-token
routing has no single ΔW, so merging raises.
"""

import contextlib
import math
from collections.abc import Iterator
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
    hold for modules where ranks or scales differ from the experts' own.
    """

    target_modules: list[str] | str | None = None
    exclude_modules: list[str] | str | None = None
    modules_to_save: list[str] | None = None
    experts: list[dict[str, Any]] = field(default_factory=list)
    rank_pattern: dict[str, list[int]] = field(default_factory=dict)
    scale_pattern: dict[str, list[float]] = field(default_factory=dict)
    trained: str = "router"
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
class Stack:
    """The blocks of one module: ranks and scales of the experts, and the same spread over the R ranks as tensors."""

    config: Any
    ranks: list[int]
    scales: list[float]
    offsets: list[int] = field(init=False)

    def __post_init__(self) -> None:
        self.offsets = [sum(self.ranks[:i]) for i in range(len(self.ranks))]
        self._tensors: dict[torch.device, tuple[Tensor, Tensor]] = {}

    @property
    def total(self) -> int:
        """R = Σ r_i."""
        return sum(self.ranks)

    def spread(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """(owner [R] int64, c [R] float32): the expert of every rank and that expert's scale."""
        if device not in self._tensors:
            ranks = torch.tensor(self.ranks, device=device)
            owner = torch.repeat_interleave(torch.arange(len(self.ranks), device=device), ranks)
            self._tensors[device] = owner, torch.tensor(self.scales, device=device, dtype=torch.float32)[owner]
        return self._tensors[device]


class MoELinear(nn.Module, BaseTunerLayer):
    """A linear layer with a mixture on it; MeteoraLinear and SmoraLinear say how a token is routed."""

    prefix = ""
    other_param_names: tuple[str, ...] = ("stacks",)

    def __init__(self, base_layer: nn.Module, adapter_name: str, config: MoEConfig, module: str) -> None:
        super().__init__()
        self.base_layer = base_layer
        self.in_features, self.out_features = _get_in_out_features(self.get_base_layer())
        self.stacks: dict[str, Stack] = {}
        self.frozen_peft_weight_names = {}
        self._disable_adapters, self.merged_adapters = False, []
        self.recording = False
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
        """{adapter: [out, R]}."""
        return getattr(self, self.prefix + "B")

    @property
    def gate(self) -> nn.ParameterDict:
        """{adapter: [n or R/p, in]}."""
        return getattr(self, self.prefix + "gate")

    def update_layer(self, adapter_name: str, config: MoEConfig, module: str) -> None:
        """Make the parameters of one mixture: gate and A as nn.Linear starts them, B zero."""
        stack = self.stacks[adapter_name] = Stack(config, config.ranks(module), config.scales(module))
        rows = {"A": (stack.total, self.in_features), "gate": (self.gate_rows(stack), self.in_features)}
        for name, shape in rows.items():
            bound = 1 / math.sqrt(self.in_features)
            getattr(self, name)[adapter_name] = nn.Parameter(torch.empty(shape).uniform_(-bound, bound))
        self.B[adapter_name] = nn.Parameter(torch.zeros(self.out_features, stack.total))
        if config.trained not in ("experts", "full"):
            self.frozen_peft_weight_names[adapter_name] = (self.prefix + "A", self.prefix + "B")
        self._move_adapter_to_device_of_base_layer(adapter_name)
        self.set_adapter(self.active_adapters, inference_mode=config.inference_mode)

    def gate_rows(self, stack: Stack) -> int:
        raise NotImplementedError

    def route(self, logits: Tensor, adapter: str) -> tuple[Tensor, Tensor]:
        """Of logits [T, rows]: the chosen experts (or ranks) [T, k] int64 and their weights [T, k] float32."""
        raise NotImplementedError

    def rank_weights(self, experts: Tensor, weights: Tensor, stack: Stack) -> Tensor:
        """The routing as one factor a rank, scales included: [T, R] float32."""
        raise NotImplementedError

    def router_logits(self, x: Tensor, adapter: str | None = None) -> Tensor:
        """W x of the router: [tokens, n or R/p], float32."""
        gate = self.gate[adapter or self.active_adapters[0]]
        return nn.functional.linear(x.reshape(-1, self.in_features).to(gate.dtype), gate).float()

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        result = self.base_layer(x, *args, **kwargs)
        if self._disable_adapters:
            return result
        for adapter in self.active_adapters:
            if adapter in self.stacks:
                result = self.mix(x.reshape(-1, self.in_features), result, adapter)
        return result

    def mix(self, x: Tensor, result: Tensor, adapter: str) -> Tensor:
        """The base's output plus the mixture's, from x [T, in]."""
        stack, A, B = self.stacks[adapter], self.A[adapter], self.B[adapter]
        logits = self.router_logits(x, adapter)
        experts, weights = self.route(logits, adapter)
        if self.recording:
            self.last_logits, self.last_experts, self.last_weights = logits, experts, weights
        factors = self.rank_weights(experts, weights, stack)
        hidden = nn.functional.linear(x.to(A.dtype), A) * factors.to(A.dtype)
        return result + nn.functional.linear(hidden, B).reshape(result.shape).to(result.dtype)

    def merge(self, safe_merge: bool = False, adapter_names: list[str] | None = None) -> None:
        raise ValueError(UNMERGEABLE)

    def unmerge(self) -> None:
        raise ValueError(UNMERGEABLE)


UNMERGEABLE = (
    "A mixture routes every token by itself, so there is no single weight it could be merged into. Keep it as an "
    "adapter, or export one expert, or the concatenation of all, as a plain LoRA and merge that."
)


class MeteoraLinear(MoELinear):
    """y = W_0 x + Σ_{i∈I} w_i s_i B_i A_i x."""

    prefix = "meteora_"
    adapter_layer_names = ("meteora_A", "meteora_B", "meteora_gate")

    def gate_rows(self, stack: Stack) -> int:
        return len(stack.ranks)

    def route(self, logits: Tensor, adapter: str) -> tuple[Tensor, Tensor]:
        config = self.stacks[adapter].config
        values, experts = logits.topk(config.top_k, dim=-1)
        return experts, (values / config.router_temperature).softmax(-1)

    def rank_weights(self, experts: Tensor, weights: Tensor, stack: Stack) -> Tensor:
        owner, scale = stack.spread(weights.device)
        dense = weights.new_zeros(len(weights), len(stack.ranks)).scatter(1, experts, weights)
        return dense[:, owner] * scale


class SmoraLinear(MoELinear):
    """y = W_0 x + B (c ∘ g ∘ A x)."""

    prefix = "smora_"
    adapter_layer_names = ("smora_A", "smora_B", "smora_gate")
    other_param_names = ("stacks", "smora_bias")

    def add_containers(self) -> None:
        super().add_containers()
        self.smora_bias = BufferDict(persistent=True)

    def update_layer(self, adapter_name: str, config: MoEConfig, module: str) -> None:
        self.smora_bias[adapter_name] = torch.zeros(sum(config.ranks(module)))
        super().update_layer(adapter_name, config, module)

    def gate_rows(self, stack: Stack) -> int:
        p = stack.config.rank_partition
        if stack.total % p:
            raise ValueError(f"rank_partition {p} does not divide the {stack.total} ranks of this module; use 1.")
        return stack.total // p

    def route(self, logits: Tensor, adapter: str) -> tuple[Tensor, Tensor]:
        config = self.stacks[adapter].config
        scores = logits.sigmoid()
        if config.rank_partition > 1:
            scores = scores.repeat_interleave(config.rank_partition, dim=-1)
        biased = scores + self.smora_bias[adapter].float()
        k = min(config.activate_r, biased.shape[-1])
        values, ranks = biased.topk(k, dim=-1)
        if not config.bias_in_gate:
            values = scores.gather(-1, ranks)
        return ranks, k * values / values.sum(-1, keepdim=True)

    def rank_weights(self, experts: Tensor, weights: Tensor, stack: Stack) -> Tensor:
        scale = stack.spread(weights.device)[1]
        return weights.new_zeros(len(weights), stack.total).scatter(1, experts, weights) * scale

    @torch.no_grad()
    def update_bias(self, experts: Tensor, rate: float = 1e-5, adapter: str | None = None) -> None:
        """The loss-free balancing of one batch, from the ranks [T, k] it chose: b_j += rate · sign(mean(c) − c_j)."""
        bias = self.smora_bias[adapter or self.active_adapters[0]]
        counts = torch.bincount(experts.flatten(), minlength=len(bias)).float()
        bias += (rate * (counts.mean() - counts).sign()).to(bias)


class MoEModel(BaseTuner):
    """Puts the layers in place; PEFT's own code saves, loads and switches them."""

    tuner_layer_cls = MoELinear
    target_module_mapping: dict[str, list[str]] = {}

    def _create_and_replace(
        self,
        peft_config: MoEConfig,
        adapter_name: str,
        target: nn.Module,
        target_name: str,
        parent: nn.Module,
        current_key: str,
        **_: Any,
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


@contextlib.contextmanager
def record_routing(model: nn.Module) -> Iterator[dict[str, MoELinear]]:
    """Within it every layer keeps `last_logits`, `last_experts` and `last_weights`; yields {module: layer}."""
    layers = {name: layer for name, layer in model.named_modules() if isinstance(layer, MoELinear)}
    for layer in layers.values():
        layer.recording = True
    try:
        yield layers
    finally:
        for layer in layers.values():
            layer.recording = False
            layer.last_logits = layer.last_experts = layer.last_weights = None


def _register() -> None:
    from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

    if METEORA not in PEFT_TYPE_TO_CONFIG_MAPPING:
        register_peft_method(name="meteora", config_cls=MeteoraConfig, model_cls=MeteoraModel)
        register_peft_method(name="smora", config_cls=SmoraConfig, model_cls=SmoraModel)


_register()
