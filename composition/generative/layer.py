"""The generator: for every adapted layer, what a text leaves behind and the update that it becomes.

With h_t [D] the input of the decoder layer, x the input of its adapted linear layer (arXiv:2411.05877, eq. 4–7):
    n_t = RMSNorm(h_t)                                learned weight
    S   = Σ_t (A2 n_t)(A3 n_{t+shift})ᵀ               [R1, R2]
    M   = f(S)                                        `normalise`
    y   = W₀ x + (α/R2) · B Mᵀ A1 x
which is the ordinary LoRA  lora_A = Uᵀ A1 [q, in],  lora_B = B V [out, q]  of scale α/R2 where M = U Vᵀ.

`shift` 0 is the published layer. With 1, a token's key is paired with the value of the token that followed it, so that
one layer can recall "what came next" without relying on the base's attention to carry it there.
"""

import hashlib
import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from composition.formats.generator.config import PARTS, GeneratorConfig
from composition.generative.normalise import normalise, svd
from composition.weights import Factors, LoraWeights

EPSILON = 1e-6


class Generator(nn.Module):
    """A1 [L, R1, in], A2 [L, R1, D], A3 [L, R2, D], B [L, out, R2], norm [L, D] of L adapted layers, in float32."""

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.config = config
        for part, shape in config.shapes().items():
            self.register_parameter(part, nn.Parameter(torch.zeros(len(config.modules), *shape)))
        self.A1: nn.Parameter
        self.A2: nn.Parameter
        self.A3: nn.Parameter
        self.B: nn.Parameter
        self.norm: nn.Parameter
        self._layers: dict[str, tuple[Tensor, ...]] | None = None

    @contextmanager
    def unbound(self) -> Iterator[None]:
        """Inside, each layer's gradient is made once and all are stacked, instead of each being added to a full one."""
        self._layers = {part: getattr(self, part).unbind(0) for part in PARTS}
        try:
            yield
        finally:
            self._layers = None

    def _of(self, part: str, layer: int) -> Tensor:
        return getattr(self, part)[layer] if self._layers is None else self._layers[part][layer]

    @torch.no_grad()
    def start(self, seed: int, norms: Tensor | None = None) -> "Generator":
        """First values: A1, A2, A3 kaiming normal, B zero (the base unchanged), norms one or the given [L, D]."""
        random = torch.Generator().manual_seed(seed)
        for part in (self.A1, self.A2, self.A3):
            part.copy_(torch.randn(part.shape, generator=random) * math.sqrt(2 / part.shape[-1]))
        self.B.zero_()
        self.norm.copy_(torch.ones_like(self.norm) if norms is None else norms)
        return self

    def state(self, layer: int, h: Tensor, mask: Tensor | None = None) -> Tensor:
        """S [N, R1, R2] of one layer's inputs h [N, T, D]; tokens whose mask [N, T] is 0 leave nothing.

        Summed in float64 where nothing is trained, so that states add and subtract without a trace.
        """
        n = rms_norm(h.to(self.A2.dtype), self._of("norm", layer))
        keys, values = n @ self._of("A2", layer).T, n @ self._of("A3", layer).T
        if self.config.shift:
            keys, values = keys[:, :-1], values[:, 1:]
        if mask is not None:
            real = mask[:, 1:] * mask[:, :-1] if self.config.shift else mask
            keys = keys * real.unsqueeze(-1)
        if not torch.is_grad_enabled():
            keys, values = keys.double(), values.double()
        return keys.mT @ values

    def directions(self, state: Tensor) -> Tensor:
        """M [..., R1, R2] of S [..., R1, R2]."""
        return normalise(state, self.config.norm, self.config.rank).to(self.B.dtype)

    def update(self, layer: int, x: Tensor, directions: Tensor) -> Tensor:
        """(α/R2) · B Mᵀ A1 x: [N, T, out] for x [N, T, in] and one layer's M [N or 1, R1, R2]."""
        hidden = x.to(self.A1.dtype) @ self._of("A1", layer).T
        outward = self._of("B", layer).T * self.config.scale
        return hidden @ directions[0] @ outward if len(directions) == 1 else torch.bmm(hidden, directions) @ outward

    @torch.no_grad()
    def fold(self, state: Tensor, targets: tuple[str, ...] | None = None) -> LoraWeights:
        """The ordinary LoRA of a state [L, R1, R2]; equal states give equal bytes.

        `targets` are suffixes that pick exactly the adapted modules, where the caller knows some.
        """
        config, modules = self.config, {}
        for layer, module in enumerate(config.modules):
            a1, b, S = (t[layer].detach().cpu().double() for t in (self.A1, self.B, state))
            if config.norm == "svd":
                u, _, v = svd(S, config.rank)
                A, B = u.T @ a1, b @ v
            else:
                A, B = normalise(S, config.norm, config.rank).T @ a1, b
            modules[module] = Factors(A.float().contiguous(), B.float().contiguous(), config.scale)
        return LoraWeights(modules, base_model=config.base_model, task_type="CAUSAL_LM", target_modules=targets)

    def digest(self) -> str:
        """SHA-256 hex of sizes and weights: what a state belongs to."""
        seen = hashlib.sha256(repr(self.config.to_dict() | {"training": None}).encode())
        for part in PARTS:
            seen.update(getattr(self, part).detach().float().cpu().contiguous().numpy().tobytes())
        return seen.hexdigest()


def rms_norm(h: Tensor, weight: Tensor) -> Tensor:
    """h / √(mean h² + ε) · weight."""
    return h * torch.rsqrt(h.pow(2).mean(-1, keepdim=True) + EPSILON) * weight
