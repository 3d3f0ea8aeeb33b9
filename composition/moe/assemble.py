"""Assembling: n stored LoRAs of one base become one stack whose router sends each token to some of them.

    A = [A_1; …; A_n] [R, in]    B = [B_1, …, B_n] [out, R]    R = Σ r_i, ranks and targets may differ

Factors are stacked as they are stored, bit for bit; scales stay in the config. The router starts as a linear layer
does, or from the experts' prototypes; until it is trained an assembly is a draft, which `save_assembly` refuses to
write as a result. Tensors are made when they are written, module by module, so that one module is in memory.

MeteoRA: arXiv:2405.13053. SMoRA from stored adapters: arXiv:2501.15103, with one LoRA's worth of ranks a token.
"""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from composition.errors import CompositionError
from composition.formats.mixture.config import FORMAT_VERSION, AssemblyConfig
from composition.formats.peft.plain_config import alpha_of
from composition.formats.safetensors_writer import cast
from composition.merging.units import module_names
from composition.moe import prototypes
from composition.progress import Progress, ignore
from composition.recipes import AssembleRecipe, MeteoraRecipe, SmoraRecipe
from composition.weights import DTYPES, LoraWeights

Source = Mapping[str, Any]
"""What is known of an expert besides its weights: sha256 of its file, license, source."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A tensor that is made when it is written."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    load: Callable[[], Tensor]


@dataclass(frozen=True, slots=True)
class Assembly:
    """An assembly before it is written: its config, its tensors by name, and the plain dict a page shows of it.

    `draft`: the router still has to be trained. `router`: the record of that training, for router.json.
    """

    config: dict[str, Any]
    entries: dict[str, Entry]
    report: dict[str, Any]
    draft: bool = False
    router: dict[str, Any] | None = None

    def with_trained(self, tensors: Mapping[str, Tensor], record: dict[str, Any]) -> "Assembly":
        """The same with these tensors in place of its own, trained; experts that changed lose their digests."""
        unknown = sorted(set(tensors) - set(self.entries))
        if unknown:
            raise ValueError(f"The assembly has no tensor {unknown[0]}")
        entries = dict(self.entries)
        for key, tensor in tensors.items():
            entries[key] = Entry(tuple(tensor.shape), tensor.dtype, partial(_itself, tensor))
        config = dict(self.config)
        if config["trained"] in ("experts", "full"):
            config["experts"] = [{k: v for k, v in row.items() if k != "sha256"} for row in config["experts"]]
        return replace(self, config=config, entries=entries, draft=False, router=record)


def assemble(
    adapters: Sequence[LoraWeights],
    recipe: AssembleRecipe,
    *,
    sources: Sequence[Source] = (),
    progress: Progress = ignore,
) -> Assembly:
    """Stack the adapters under a router; a draft unless recipe.train is prototype.

    `sources` adds keys (sha256, license, source) to each expert's row in the config. Raises CompositionError where the
    adapters don't fit the recipe; values that are not finite are refused when the tensors are made.
    """
    names = [adapter.name or f"adapter {i}" for i, adapter in enumerate(adapters, 1)]
    recipe.check([(name, adapter.facts()) for name, adapter in zip(names, adapters, strict=True)])
    if isinstance(recipe, SmoraRecipe) and recipe.rank_basis == "svd":
        adapters = [prototypes.in_svd_basis(adapter) for adapter in adapters]
    config = make_config(adapters, recipe, names, sources)
    assembly = stack(adapters, config, recipe, partial(_start, adapters, recipe, AssemblyConfig(config)))
    progress(1.0, f"Stacked {len(adapters)} adapters in {assembly.report['modules']} modules")
    return assembly


def stack(
    adapters: Sequence[LoraWeights], config: dict[str, Any], recipe: AssembleRecipe, gate: Callable[[str], Tensor]
) -> Assembly:
    """The assembly of a config whose gates `gate(module)` makes: [rows, in] float32."""
    layout = AssemblyConfig(config)
    dtype = stack_dtype(adapters, recipe, layout.names)
    entries: dict[str, Entry] = {}
    modules = module_names(adapters)
    for module in modules:
        facts = next(adapter.module_facts(module) for adapter in adapters if module in adapter)
        total = sum(layout.ranks(module))
        rows = len(layout.experts) if layout.peft_type == "METEORA" else total // layout.partition
        for half, shape in (("A", (total, facts.in_features)), ("B", (facts.out_features, total))):
            load = partial(_stacked, adapters, layout.names, module, half, dtype, recipe.dtype == "keep")
            entries[layout.key(module, half)] = Entry(shape, dtype, load)
        entries[layout.key(module, "gate")] = Entry((rows, facts.in_features), torch.float32, partial(gate, module))
        if layout.peft_type == "SMORA":
            zeros = partial(torch.zeros, total)
            entries[layout.key(module, "bias")] = Entry((total,), torch.float32, zeros)
    return Assembly(config, entries, _report(adapters, layout, entries, modules, recipe), draft=recipe.trains)


def make_config(
    adapters: Sequence[LoraWeights], recipe: AssembleRecipe, names: Sequence[str], sources: Sequence[Source] = ()
) -> dict[str, Any]:
    """The adapter_config.json; ranks and scales that differ from an expert's own go into patterns by module."""
    own = [_own(adapter) for adapter in adapters]
    experts = [
        {"name": name, "r": r, "lora_alpha": alpha, "use_rslora": False, **(sources[i] if sources else {})}
        for i, (name, (r, alpha)) in enumerate(zip(names, own, strict=True))
    ]
    ranks, scales = {}, {}
    for module in module_names(adapters):
        facts = [adapter.module_facts(module) if module in adapter else None for adapter in adapters]
        here = [fact.r if fact else 0 for fact in facts]
        if here != [r for r, _ in own]:
            ranks[module] = here
        wanted = [float(fact.scale) if fact else 0.0 for fact in facts]
        if wanted != [alpha / r if r else 0.0 for (_, alpha), r in zip(own, here, strict=True)]:
            scales[module] = wanted
    bases = {adapter.base_model for adapter in adapters}
    tasks = {adapter.task_type for adapter in adapters}
    return {
        "auto_mapping": None,
        "base_model_name_or_path": bases.pop() if len(bases) == 1 else None,
        "experts": experts,
        "format_version": FORMAT_VERSION,
        "inference_mode": True,
        "peft_type": {"meteora": "METEORA", "smora": "SMORA"}[recipe.kind],
        "rank_pattern": ranks,
        "revision": None,
        "router_abs": not recipe.trains,
        "scale_pattern": scales,
        "target_modules": _targets(adapters),
        "task_type": tasks.pop() if len(tasks) == 1 else None,
        "trained": recipe.stage,
        **_routing(recipe, [(name, adapter.facts()) for name, adapter in zip(names, adapters, strict=True)]),
    }


def stack_dtype(adapters: Sequence[LoraWeights], recipe: AssembleRecipe, names: Sequence[str]) -> torch.dtype:
    """The recipe's dtype, or the one that all factors have; `assemble.dtypes_differ` where there is none."""
    if recipe.dtype != "keep":
        return getattr(torch, recipe.dtype)
    first = adapters[0].module_dtype(next(iter(adapters[0])))
    for name, adapter in zip(names, adapters, strict=True):
        for module in adapter:
            if adapter.module_dtype(module) != first:
                raise _unlike(name, module, adapter.module_dtype(module), first)
    return first


def _start(adapters: Sequence[LoraWeights], recipe: AssembleRecipe, layout: AssemblyConfig, module: str) -> Tensor:
    """The gate a router starts from: [rows, in] float32."""
    if recipe.start == "prototype" or not recipe.trains:
        if isinstance(recipe, SmoraRecipe):
            return prototypes.rank_gate(adapters, module, recipe.rank_partition)
        return prototypes.expert_gate(adapters, module)
    width = next(adapter.module_facts(module).in_features for adapter in adapters if module in adapter)
    total = sum(layout.ranks(module))
    rows = len(adapters) if layout.peft_type == "METEORA" else total // layout.partition
    return prototypes.random_rows(rows, width, recipe.seed, module)


def _stacked(
    adapters: Sequence[LoraWeights], names: Sequence[str], module: str, half: str, dtype: torch.dtype, keep: bool
) -> Tensor:
    """A [R, in] or B [out, R] of one module, each block its expert's own."""
    blocks = []
    for name, adapter in zip(names, adapters, strict=True):
        if module not in adapter:
            continue
        block = getattr(adapter[module], half)
        if not torch.isfinite(block).all():
            raise CompositionError(
                "weights.nonfinite",
                f"{module} of {name} holds NaN or infinite values; expected finite ones. Train or export it again.",
                module=module,
                adapter=name,
            )
        if keep and block.dtype != dtype:
            raise _unlike(name, module, block.dtype, dtype)
        blocks.append(cast(block, dtype, module))
    return torch.cat(blocks, 0 if half == "A" else 1).contiguous()


def _own(adapter: LoraWeights) -> tuple[int, int | float]:
    """(r, alpha) of most of an adapter's modules."""
    facts = [adapter.module_facts(module) for module in adapter]
    (r, scale), _ = max(Counter((f.r, f.scale) for f in facts).items(), key=lambda item: (item[1], item[0]))
    return r, math.copysign(alpha_of(scale, r), scale) if scale < 0 else alpha_of(scale, r)


def _targets(adapters: Sequence[LoraWeights]) -> list[str]:
    """The adapters' own suffixes where all have them, else the modules' full names."""
    suffixes = [adapter.target_modules for adapter in adapters]
    if all(suffixes):
        return sorted({suffix for some in suffixes for suffix in some or ()})
    return module_names(adapters)


def _routing(recipe: AssembleRecipe, inputs: list[tuple[str, Any]]) -> dict[str, Any]:
    if isinstance(recipe, MeteoraRecipe):
        return {"top_k": recipe.top_k, "router_temperature": recipe.router_temperature}
    assert isinstance(recipe, SmoraRecipe)
    return {
        "activate_r": recipe.ranks_a_token(inputs),
        "rank_partition": recipe.rank_partition,
        "rank_basis": recipe.rank_basis,
        "bias_in_gate": recipe.bias_in_gate,
    }


def _report(
    adapters: Sequence[LoraWeights],
    layout: AssemblyConfig,
    entries: Mapping[str, Entry],
    modules: list[str],
    recipe: AssembleRecipe,
) -> dict[str, Any]:
    sizes = {key: math.prod(entry.shape) for key, entry in entries.items()}
    router = sum(size for key, size in sizes.items() if key.endswith(("gate", "bias")))
    totals = [sum(layout.ranks(module)) for module in modules]
    partial_modules = sum(1 for module in modules if 0 in layout.ranks(module))
    bases = sorted({adapter.base_model for adapter in adapters if adapter.base_model})
    warnings = []
    if len(bases) > 1:
        warnings.append(
            f"The adapters name different base models ({', '.join(bases)}). If these are not the same weights, "
            "the assembly means nothing."
        )
    if partial_modules:
        warnings.append(
            f"{partial_modules} of {len(modules)} modules are missing in some adapters; a token sent to one of those "
            "there takes the base alone."
        )
    return {
        "method": recipe.kind,
        "stage": recipe.stage,
        "inputs": layout.names,
        "modules": len(modules),
        "rank": max(totals),
        "parameters": sum(sizes.values()),
        "router_parameters": router,
        "bytes": sum(size * entries[key].dtype.itemsize for key, size in sizes.items()),
        "warnings": warnings,
    }


def _unlike(name: str, module: str, found: torch.dtype, first: torch.dtype) -> CompositionError:
    return CompositionError(
        "assemble.dtypes_differ",
        f"{module} of {name} is stored as {DTYPES[found]}, others as {DTYPES[first]}, so they can't be stacked "
        "unchanged. Choose a precision for all of them (dtype=float32 keeps every value).",
        adapter=name,
        module=module,
    )


def _itself(tensor: Tensor) -> Tensor:
    return tensor
