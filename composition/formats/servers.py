"""What inference servers make of a stored LoRA: right, wrong by a factor, or refused; one small function a server.

ΔW in PEFT is the truth. Each rule gives what the server would multiply a module by, divided by that truth: 1 is right,
0.5 is half the update, 0 is a module that is left out. The rules were read from the servers' sources (November 2026):

    vLLM ≥ 0.32     honours rank_pattern, alpha_pattern and rsLoRA; ranks up to 512
    vLLM ≤ 0.31     one α/r (α/√r with rsLoRA) for all modules; patterns are not read
    SGLang          one α/r; rsLoRA and alpha_pattern are not read; every module must have the config's rank
                    (`mem_pool`), q and v come together, up with gate (`normalize_qkv_proj`, `normalize_gate_up_proj`)
    llama.cpp       one α, divided by each tensor's own rank; rsLoRA is not read (`convert_lora_to_gguf`)
    LoRAX, TGI      one α/r (α/√r with rsLoRA), type by type; a rank is padded to 8 or a multiple of 16, and r of all
                    later types is the padded one; a type that lacks a layer is dropped whole (`lora.py`)

Torch-free: header facts and the base's shapes are enough.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from composition.facts import AdapterFacts, ModuleFacts
from composition.formats.peft.layouts.completing import Shapes, kind_of, missing, shown

Answer = Literal["right", "wrong", "refuses"]
LARGEST_RANK = 512
SAME = 1e-6
"""Factors this close to 1 are the rounding of α / r."""

LORAX_ORDER = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """What a server reads: the config's own r, α and rsLoRA, and each module's rank and true scale.

    `absent` are modules that the adapter lacks beside those it has (`completing.missing`).
    """

    r: int
    alpha: float
    modules: Mapping[str, ModuleFacts]
    use_rslora: bool = False
    absent: frozenset[str] = frozenset()

    def one_scale(self, *, rslora: bool = True) -> float:
        """The config's α/r, or α/√r where it says rsLoRA and the server reads that."""
        return self.alpha / (math.sqrt(self.r) if rslora and self.use_rslora else self.r)


class Refused(Exception):
    """Why a server would not load the adapter."""


Rule = Callable[[Served], dict[str, float]]
"""Module → the scale that the server applies; raises Refused."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """One server's answer. `factors`: module → ΔW served / ΔW in PEFT, of those that are not 1."""

    server: str
    label: str
    answer: Answer
    why: str = ""
    factors: Mapping[str, float] = field(default_factory=dict)

    def to_dict(self) -> dict[str, object]:
        """JSON form; of the factors only the least and the greatest, which all modules lie between."""
        bounds = [min(self.factors.values()), max(self.factors.values())] if self.factors else None
        return {
            "server": self.server,
            "label": self.label,
            "answer": self.answer,
            "why": self.why,
            "factors": bounds,
            "modules": len(self.factors),
        }


def vllm(served: Served) -> dict[str, float]:
    """vLLM from 0.32 on: as PEFT."""
    _vllm_rank(served)
    return {module: fact.scale for module, fact in served.modules.items()}


def vllm_old(served: Served) -> dict[str, float]:
    """vLLM up to 0.31."""
    _vllm_rank(served)
    return dict.fromkeys(served.modules, served.one_scale())


def _vllm_rank(served: Served) -> None:
    largest = max(fact.r for fact in served.modules.values())
    if largest > LARGEST_RANK:
        raise Refused(f"It takes ranks up to {LARGEST_RANK}; this adapter has {largest}.")


def sglang(served: Served) -> dict[str, float]:
    """SGLang 0.5."""
    other = next((name for name, fact in served.modules.items() if fact.r != served.r), None)
    if other:
        raise Refused(f"Every module must have the config's rank {served.r}; {other} has {served.modules[other].r}.")
    mla = any(name.endswith(("kv_a_proj_with_mqa", "kv_b_proj")) for name in served.modules)
    for name in served.modules:
        parent, _, last = name.rpartition(".")
        needed = {"q_proj": "v_proj", "k_proj": "q_proj", "v_proj": "q_proj", "up_proj": "gate_proj"}.get(last)
        if needed and f"{parent}.{needed}" not in served.modules and not (mla and last == "q_proj"):
            raise Refused(f"It needs {last} and {needed} together; {parent} has only {last}.")
    return dict.fromkeys(served.modules, served.one_scale(rslora=False))


def llama_cpp(served: Served) -> dict[str, float]:
    """llama.cpp, through convert_lora_to_gguf.py."""
    return {module: served.alpha / fact.r for module, fact in served.modules.items()}


def lorax(served: Served) -> dict[str, float]:
    """LoRAX 0.12 and TGI 3, on one GPU: with n, ranks are padded to 8·n at least."""
    kinds: dict[str, list[str]] = {}
    for module in served.modules:
        kinds.setdefault(kind_of(module), []).append(module)
    gaps = {kind_of(module) for module in served.absent}
    r, scales = served.r, dict[str, float]()
    for kind in sorted(kinds, key=_lorax_place):
        if kind in gaps:
            scales |= dict.fromkeys(kinds[kind], 0.0)
            continue
        padded = {lorax_rank(served.modules[module].r) for module in kinds[kind]}
        if len(padded) > 1:
            raise Refused(f"All layers of {shown(kind)} must have one rank; they have several.")
        scale = served.alpha / (math.sqrt(r) if served.use_rslora else r)
        scales |= dict.fromkeys(kinds[kind], scale)
        (r,) = padded
    return scales


def lorax_rank(rank: int) -> int:
    """The rank that LoRAX pads to on one GPU: 8, or a multiple of 16 (`pad_rank`)."""
    return 8 if rank <= 8 else -(-rank // 16) * 16


def _lorax_place(kind: str) -> tuple[int, str]:
    last = kind.rpartition(".")[2]
    return (LORAX_ORDER.index(last) if last in LORAX_ORDER else len(LORAX_ORDER), kind)


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """One row: how it is called, and its rule."""

    name: str
    label: str
    rule: Rule


SERVERS: tuple[Server, ...] = (
    Server(name="vllm", label="vLLM 0.32 and newer", rule=vllm),
    Server(name="vllm-0.31", label="vLLM up to 0.31", rule=vllm_old),
    Server(name="sglang", label="SGLang", rule=sglang),
    Server(name="llama.cpp", label="llama.cpp", rule=llama_cpp),
    Server(name="lorax", label="LoRAX and TGI", rule=lorax),
)


def verdicts(facts: AdapterFacts, base_shapes: Shapes | None = None) -> list[Verdict]:
    """What each server makes of the adapter as it is stored. `base_shapes` ({module: [out, in]}) show missing layers.

    What is no plain LoRA (DoRA, whole layers, mixtures, other methods) is refused by all, with the reason.
    """
    reason = reason_against(facts)
    if reason:
        return [Verdict(server=row.name, label=row.label, answer="refuses", why=reason) for row in SERVERS]
    served = served_of(facts, base_shapes)
    return [verdict(row, served) for row in SERVERS]


def verdict(server: Server, served: Served) -> Verdict:
    """One server's answer."""
    try:
        scales = server.rule(served)
    except Refused as refusal:
        return Verdict(server.name, server.label, "refuses", why=str(refusal))
    factors = {
        module: scales[module] / fact.scale
        for module, fact in served.modules.items()
        if fact.scale and abs(scales[module] / fact.scale - 1) > SAME
    }
    return Verdict(server.name, server.label, "wrong" if factors else "right", _said(factors), factors)


def served_of(facts: AdapterFacts, base_shapes: Shapes | None = None) -> Served:
    """What servers read of an adapter. The config's r and α are told from the modules where the facts lack them."""
    r = facts.r or _likely_rank(facts)
    root = math.sqrt(r) if facts.use_rslora else r
    alpha = next((fact.scale * root for fact in facts.modules.values() if fact.r == r), float(r))
    return Served(
        r=r,
        alpha=alpha if facts.lora_alpha is None else facts.lora_alpha,
        use_rslora=facts.use_rslora,
        modules=facts.modules,
        absent=frozenset(missing(facts.modules, base_shapes)),
    )


def _likely_rank(facts: AdapterFacts) -> int:
    """The rank that explains most modules' scales by the config's α; the largest where several do equally."""
    ranks = [fact.r for fact in facts.modules.values()]
    explained = [
        fact.r
        for fact in facts.modules.values()
        if math.isclose(fact.scale, (facts.lora_alpha or 0) / (math.sqrt(fact.r) if facts.use_rslora else fact.r))
    ]
    pool = explained or ranks
    return max(sorted(set(pool)), key=lambda rank: (pool.count(rank), rank))


def reason_against(facts: AdapterFacts) -> str:
    """Why no rule speaks of this adapter: it is more, or other, than a plain LoRA. "" for one."""
    if facts.needs_base:
        return f"It is no plain LoRA: {facts.needs_base[0]['reason']}"
    if facts.peft_type != "LORA" or not facts.modules:
        return f"It is a {facts.peft_type} adapter, not a plain LoRA."
    return ""


def _said(factors: Mapping[str, float]) -> str:
    """The factors in words: how far off, and on which kinds of modules."""
    if not factors:
        return ""
    by_factor: dict[str, set[str]] = {}
    for module, factor in factors.items():
        said = "left out" if factor == 0 else f"×{factor:.3g}"
        by_factor.setdefault(said, set()).add(module.rpartition(".")[2])
    rows = [f"{said} on {', '.join(sorted(names))}" for said, names in list(by_factor.items())[:3]]
    more = len(by_factor) - len(rows)
    return f"The update is {'; '.join(rows)}{f'; and {more} other factors' if more else ''}."
