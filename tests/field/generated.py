"""Configs and key sets as trainers write them, drawn for any of the pico bases: some right, some wrong in one way.

An adapter is drawn as a config and a rule for its names; its tensors have the shapes that fit the names where the base
has them. Whether peft fills all of it is not said here: the tests ask peft.
"""

import json
from pathlib import Path

import torch
from hypothesis import strategies as st
from safetensors.torch import save_file

from composition.formats.peft.names import CONFIG_FILE, PREFIX, WEIGHTS_FILE
from tests.field.pico_bases import config, shapes

BASES = (
    *(
        "llama",
        "llama-encoder",
        "qwen2-tied",
        "gemma3",
        "llava",
        "mistral3",
        "mllama",
        "qwen2vl",
        "qwen25vl",
        "qwen3vl",
    ),
    *("mixtral", "qwen3moe", "gptoss", "gpt2", "bert", "phi3", "t5", "whisper", "mamba2_1e30", "clip"),
)
"""One of each architecture in `bases`, and the two kinds of them that share one."""

EXPERTS = {"mixtral": ("w1", "w3", "w2"), "qwen3moe": ("gate_proj", "up_proj", "down_proj")}
MOVED = (
    ("", ""),
    ("model.language_model.", "language_model.model."),
    ("model.language_model.", "model."),
    ("model.", ""),
    ("model.", "model.model."),
)
WRAPS = ("", "_orig_mod.", "module.", PREFIX)
INNER = ("", ".default", ".sft")


@st.composite
def adapters(draw):
    """(base, config, tensors): what a folder holds."""
    base = draw(st.sampled_from(BASES))
    known, layout = shapes(base), shapes(base).layout
    linear = sorted(name for name, kind in layout.kinds.items() if kind != "conv" and name in known)
    leaves = sorted({name.rpartition(".")[2] for name in linear})
    targets = draw(st.lists(st.sampled_from(leaves), min_size=1, max_size=3, unique=True))
    chosen = [name for name in linear if name.rpartition(".")[2] in targets]
    rank = draw(st.sampled_from((2, 3)))
    fields = {
        "peft_type": "LORA",
        "task_type": None,
        "base_model_name_or_path": f"pico/{base}",
        "r": rank,
        "lora_alpha": 4,
        "lora_dropout": draw(st.sampled_from((0.0, 0.0, 0.0, 0.1))),
        "init_lora_weights": draw(st.sampled_from((True, True, True, False))),
        "target_modules": list(targets),
    }
    chosen = _narrowed(draw, fields, chosen)
    ranks = _ranks(draw, fields, chosen, rank)
    tensors = {}
    for module in chosen:
        rows, columns = known[module][0], known[module][-1]
        table = layout.kinds[module] == "embedding"
        tensors |= _pair(module, ranks[module], rows, columns, table)
    if base in EXPERTS and draw(st.booleans()):
        tensors |= _experts(draw, base, fields, rank)
    if layout.others and draw(st.integers(0, 3)) == 0:
        tensors |= _parameters(draw, base, fields, rank)
    if draw(st.integers(0, 3)) == 0:
        tensors |= _whole(draw, base, fields)
    return base, fields, _spoilt(draw, _renamed(draw, tensors))


def _narrowed(draw, fields, chosen):
    """How the targets are told, and what is kept away from them."""
    how = draw(
        st.sampled_from(("list", "list", "regex", "full", "all-linear", "more", "layers", "exclude", "container"))
    )
    names = "|".join(fields["target_modules"])
    if how == "regex":
        fields["target_modules"] = rf".*\.({names})"
    elif how == "full":
        chosen = chosen[: draw(st.integers(1, len(chosen)))]
        fields["target_modules"] = list(chosen)
    elif how == "all-linear":
        fields["target_modules"] = "all-linear"
    elif how == "more":
        fields["target_modules"].append(draw(st.sampled_from(("query_key_value", "c_attn_x", "w9"))))
    elif how == "layers":
        fields["layers_to_transform"] = draw(st.sampled_from((0, [0], [0, 1])))
        chosen = [name for name in chosen if ".0." in name] or chosen
    elif how == "exclude":
        fields["exclude_modules"] = [chosen[0]]
        chosen = chosen[draw(st.integers(0, 1)) :] or chosen
    elif how == "container":
        fields["target_modules"].append(draw(st.sampled_from(("self_attn", "mlp", "0", "attention"))))
    return chosen


def _ranks(draw, fields, chosen, rank):
    ranks = dict.fromkeys(chosen, rank)
    if draw(st.booleans()):
        return ranks
    key = draw(st.sampled_from(chosen))
    suffix = draw(st.booleans())
    leaf = key.rpartition(".")[2]
    fields["rank_pattern"] = {leaf if suffix else key: 5}
    same = [name for name in chosen if name == key or (suffix and name.rpartition(".")[2] == leaf)]
    return ranks | dict.fromkeys(same, 5)


def _pair(module, rank, rows, columns, table=False):
    if table:
        names, sizes = ("lora_embedding_A", "lora_embedding_B"), ((rank, rows), (columns, rank))
    else:
        names, sizes = ("lora_A.weight", "lora_B.weight"), ((rank, columns), (rows, rank))
    return {f"{PREFIX}{module}.{name}": torch.randn(size) for name, size in zip(names, sizes, strict=True)}


def _experts(draw, base, fields, rank):
    """One LoRA an expert, as transformers 4 names them."""
    gate, up, down = EXPERTS[base]
    listed = fields["target_modules"]
    if isinstance(listed, list):
        listed += draw(st.sampled_from(([gate, up, down], [gate, up], [down], [gate, down])))
    told = [leaf for leaf in (gate, up, down) if not isinstance(listed, list) or leaf in listed]
    inner = "block_sparse_moe" if base == "mixtral" else "mlp"
    count = draw(st.sampled_from((4, 4, 4, 3)))
    found = {}
    wide, narrow = (config(base).get("moe_intermediate_size") or config(base)["intermediate_size"]), 32
    for layer in range(2):
        for expert in range(count):
            for leaf in told:
                rows, columns = (narrow, wide) if leaf == down else (wide, narrow)
                found |= _pair(f"model.layers.{layer}.{inner}.experts.{expert}.{leaf}", rank, rows, columns)
    return found


def _parameters(draw, base, fields, rank):
    """Factors on bare parameters, as target_parameters names them."""
    layout = shapes(base).layout
    stacked = [owner for owner, own in layout.others.items() if any(len(shape) == 3 for shape in own.values())]
    if not stacked:
        fields["target_parameters"] = ["mlp.experts.gate_up_proj"]
        return _pair("model.layers.0.mlp.experts", rank * 4, 64, 32)
    own = [name for name, shape in layout.others[stacked[0]].items() if len(shape) == 3]
    wanted = draw(st.sampled_from((own, own[:1], own[-1:])))
    fields["target_parameters"] = [f"experts.{name}" for name in wanted]
    found = {}
    for owner in stacked:
        turned = owner in layout.transposed
        for place, name in enumerate(reversed([name for name in own if name in wanted])):
            experts, first, last = layout.others[owner][name]
            rows, columns = (last, first) if turned else (first, last)
            found |= _pair(owner + ".base_layer" * place, rank * experts, rows, columns)
    return found


def _whole(draw, base, fields):
    """Whole layers beside the factors, of the base's size or of another."""
    known = shapes(base)
    name = draw(
        st.sampled_from(
            [name for name in known if name.rpartition(".")[2] in ("lm_head", "embed_tokens", "wte")] or [""]
        )
    )
    if not name:
        fields["modules_to_save"] = ["classifier"]
        return {}
    rows, columns = known[name]
    columns += draw(st.sampled_from((0, 0, 1)))
    if draw(st.booleans()):
        fields["modules_to_save"] = [name.rpartition(".")[2]]
    return {f"{PREFIX}{name}.weight": torch.randn(rows, columns)}


def _renamed(draw, tensors):
    """Names of another class or release, wrapped, or with an adapter's name inside."""
    if draw(st.booleans()):
        return tensors
    (new, old), wrap, inner = draw(st.sampled_from(MOVED)), draw(st.sampled_from(WRAPS)), draw(st.sampled_from(INNER))
    bare = draw(st.integers(0, 5)) == 0

    def moved(name):
        name = name.removeprefix(PREFIX)
        name = old + name.removeprefix(new) if name.startswith(new) else name
        for half in ("lora_A", "lora_B"):
            name = name.replace(f".{half}.weight", f".{half}{inner}.weight")
        return wrap + ("" if bare else PREFIX) + name

    return {moved(name): tensor for name, tensor in tensors.items()}


def _spoilt(draw, tensors):
    """At times one tensor is missing, or of another shape."""
    how, name = draw(st.integers(0, 9)), draw(st.sampled_from(sorted(tensors)))
    if how == 0 and len(tensors) > 2:
        return {other: tensor for other, tensor in tensors.items() if other != name}
    if how == 1:
        return tensors | {name: torch.randn(*(size + 1 for size in tensors[name].shape))}
    return tensors


def write(folder: Path, fields: dict, tensors: dict) -> Path:
    """The folder of a drawn adapter."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONFIG_FILE).write_text(json.dumps(fields))
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / WEIGHTS_FILE)
    return folder
