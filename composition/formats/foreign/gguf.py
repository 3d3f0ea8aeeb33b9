"""GGUF LoRAs, as llama.cpp's convert_lora_to_gguf.py writes them and llama.cpp loads them.

    blk.0.attn_q.weight.lora_a [r, in]   blk.0.attn_q.weight.lora_b [out, r]   adapter.lora.alpha
    token_embd.weight.lora_a [entries, r], lora_b [dim, r]      experts: [E, r, in], [E, out, r]

scale = alpha / r with each tensor's own r, and 1 where alpha is 0 (llama-adapter.h, `get_scale`). llama.cpp keeps the
rows of q and k of Llama and its kin in another order than transformers; `composition.formats.gguf.names` knows which,
and here it is undone. Names and order depend on the base, so the base must be known.
"""

import re
from collections.abc import Iterator
from typing import Any

import numpy as np

from composition.errors import CompositionError
from composition.formats.foreign.gguf_file import GgufHead, read_head
from composition.formats.foreign.looks import is_peft, top_weights
from composition.formats.foreign.names import TABLES
from composition.formats.foreign.parts import Part, Stored
from composition.formats.foreign.plan import Base, Lora, Plan, check_lora, refuse, suffixes_of
from composition.formats.gguf.names import GgufNames
from composition.formats.sources import Files
from composition.formats.table import BaseName

LABEL = "llama.cpp (GGUF LoRA)"
ARCHITECTURE, KIND, ADAPTER = "general.architecture", "general.type", "adapter"
ALPHA, TYPE, INVOCATION = (f"{ADAPTER}.{key}" for key in ("lora.alpha", "type", "alora.invocation_tokens"))
_FACTOR = re.compile(r"(?P<tensor>.+)\.lora_(?P<half>[ab])")
_EXPERTS = re.compile(r"blk\.(?P<layer>\d+)\.ffn_(?P<which>gate|up|down)_exps\.weight")
_MIXTRAL = {"gate": "w1", "up": "w3", "down": "w2"}


def detect(files: Files) -> bool:
    """A GGUF file at the top and no PEFT adapter."""
    return bool(top_weights(files, ".gguf")) and not is_peft(files)


def base_of(files: Files) -> BaseName | None:
    """The base that the metadata names, if any: an address on Hugging Face, or its organisation and name."""
    found = top_weights(files, ".gguf")
    try:
        metadata = read_head(files[found[0]], found[0]).metadata if found else {}
    except CompositionError:
        return None
    address = metadata.get("general.base_model.0.repo_url")
    if isinstance(address, str) and address.startswith("https://huggingface.co/"):
        return BaseName("/".join(address.removeprefix("https://huggingface.co/").split("/")[:2]))
    parts = [metadata.get(f"general.base_model.0.{key}") for key in ("organization", "name")]
    named = [part for part in parts if isinstance(part, str) and part]
    return BaseName("/".join(named)) if named else None


def plan(files: Files, base: Base) -> Plan:
    """Raises `gguf.*`, `import.several`, `.kind`, `.base`, `.needs_base`, `.tensor_unknown`, `.unpaired`, `.shape`."""
    found = top_weights(files, ".gguf")
    if len(found) != 1:
        refuse("several", LABEL, f"there are {', '.join(found[:3])}", f"Push each by its path, such as {found[0]}.")
    head = read_head(files[found[0]], found[0])
    alpha = _alpha(head, found[0])
    if base.shapes is None or base.config is None:
        refuse("needs_base", LABEL, "the names and the order of its rows depend on the base", "Give the base.")
    names = _names(head, base)
    modules = dict(_tensor_names(names, base))
    halves: dict[str, dict[str, Stored]] = {}
    for name, stored in head.tensors.items():
        match = _FACTOR.fullmatch(name)
        if match is None:
            refuse(
                "tensor_unknown", LABEL, f"it holds {name}, which is no factor", "Convert a plain LoRA.", tensors=[name]
            )
        halves.setdefault(match["tensor"], {})[match["half"]] = stored
    loras = []
    for tensor, pair in halves.items():
        if len(pair) != 2:
            refuse(
                "unpaired", LABEL, f"{tensor} has lora_{next(iter(pair))} only", "Convert it again.", tensors=[tensor]
            )
        loras += [check_lora(lora, LABEL) for lora in _loras(tensor, pair, alpha, modules, names, base)]
    return Plan(
        label=LABEL,
        originals=tuple(found),
        loras=tuple(loras),
        base_name=base.name,
        suffixes=suffixes_of([lora.module for lora in loras], base),
    )


def _alpha(head: GgufHead, file: str) -> float:
    metadata = head.metadata
    if metadata.get(KIND, ADAPTER) != ADAPTER or metadata.get(TYPE, "lora") != "lora":
        refuse(
            "kind",
            LABEL,
            f"{file} says {KIND} {metadata.get(KIND)!r}, {TYPE} {metadata.get(TYPE)!r}",
            "A model is registered as a base (docs/bases.md); here a LoRA is expected.",
        )
    if not any(name.endswith((".lora_a", ".lora_b")) for name in (*head.tensors, *head.other)):
        refuse("kind", LABEL, f"{file} holds no LoRA", "A model is registered as a base (docs/bases.md).")
    if metadata.get(INVOCATION):
        refuse("kind", LABEL, "it is an aLoRA, which acts after certain tokens only", "Push PEFT's files of it.")
    if head.other:
        name, kind = next(iter(head.other.items()))
        refuse(
            "dtype",
            LABEL,
            f"{name} is quantised (ggml type {kind}); F32, F16, BF16 and Q8_0 are read",
            "Convert it with --outtype f16.",
            tensors=[name],
        )
    alpha = metadata.get(ALPHA)
    if not isinstance(alpha, int | float) or isinstance(alpha, bool):
        refuse("config", LABEL, f"{ALPHA} is {alpha!r}", "Convert it with a current convert_lora_to_gguf.py.")
    return float(alpha)


def _names(head: GgufHead, base: Base) -> GgufNames:
    """The base's names; its architecture must be the file's, since row orders differ."""
    said = head.metadata.get(ARCHITECTURE)
    try:
        names = GgufNames(base.config or {})
    except CompositionError as error:
        refuse(
            "base",
            LABEL,
            f"its names can't be told for {base.name or 'this base'}: {error.message}",
            "Push PEFT's files.",
        )
    if said != names.architecture.name:
        refuse(
            "base",
            LABEL,
            f"it is for the architecture {said!r}, and {base.name or 'the base'} is {names.architecture.name!r}",
            "Name the base that it was trained on with --base.",
        )
    return names


def _tensor_names(names: GgufNames, base: Base) -> Iterator[tuple[str, str]]:
    """(llama.cpp's name, module) of each module of the base that has one."""
    for module in base.modules:
        try:
            yield names.tensor(module), module
        except CompositionError:
            continue


def _loras(
    tensor: str, pair: dict[str, Stored], alpha: float, modules: dict[str, str], names: GgufNames, base: Base
) -> list[Lora]:
    a, b = Part.of(pair["a"]), Part.of(pair["b"])
    rank = b.shape[-1]
    scale = alpha / rank if alpha else 1.0
    experts = _EXPERTS.fullmatch(tensor)
    if experts and len(b.shape) == 3 and len(a.shape) == 3:
        return [
            Lora(module=module, A=a.at(i), B=b.at(i), scale=scale)
            for i, module in enumerate(_expert_names(experts, b.shape[0], base))
        ]
    module = modules.get(tensor)
    if module is None:
        refuse(
            "module_unknown",
            LABEL,
            f"{base.name or 'the base'} has no module that llama.cpp calls {tensor}",
            "Name the base that it was trained on with --base.",
            tensors=[tensor],
        )
    if module.rpartition(".")[2] in TABLES:
        return [Lora(module=module, A=a.transposed(), B=b, scale=scale, table=True)]
    order = names.row_order(tensor, b.shape[0])
    return [Lora(module=module, A=a, B=b if order is None else b.ordered(undone(order, b.shape[0])), scale=scale)]


def undone(order: np.ndarray, rows: int) -> np.ndarray:
    """For each row of transformers' weight which row of llama.cpp's it is; `order` says the reverse, block by block."""
    blocks = np.arange(rows // len(order))[:, None] * len(order)
    return (blocks + np.argsort(order)[None, :]).reshape(-1)


def _expert_names(match: re.Match[str], count: int, base: Base) -> list[str]:
    """Names of transformers 4, one an expert, which PEFT maps to the base's fused ones."""
    layer, which = match["layer"], match["which"]
    owner = next(
        (name.partition(".experts")[0] for name in base.modules if f".layers.{layer}." in name and ".experts" in name),
        f"model.layers.{layer}.mlp",
    )
    kind: Any = (base.config or {}).get("model_type")
    if kind == "mixtral":
        stem = owner.removesuffix(".mlp").removesuffix(".block_sparse_moe") + ".block_sparse_moe"
        return [f"{stem}.experts.{e}.{_MIXTRAL[which]}" for e in range(count)]
    return [f"{owner}.experts.{e}.{which}_proj" for e in range(count)]
