"""Where `add_weighted_adapter` of PEFT is silently wrong, beside this hub, both against the adapters' true updates.

    python bench/peft_merges.py [--json FILE]

Adapters of each kind are made by PEFT on a small random llama. The truth is what PEFT's own forward makes of them:
what each module adds to its base with one adapter active, summed with the weights. An error is the relative
Frobenius norm over all modules, taken after the result was saved and loaded again, as a user would serve it.
"""

import argparse
import json
import sys
import tempfile
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
from peft import LoraConfig, PeftModel, get_peft_model

from composition.errors import CompositionError
from composition.formats import read_adapter
from composition.registry import METHODS, recipe_from_dict
from composition.weights import save_peft
from tests.pico import ALL_LINEAR, pico_llama

Updates = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Case:
    """Adapters by their LoraConfig fields, PEFT's combination, our recipe, the weights of the sum."""

    title: str
    configs: tuple[Mapping[str, object], ...]
    combination: str
    recipe: Mapping[str, object]
    weights: tuple[float, ...]


PLAIN = {"r": 4, "lora_alpha": 8}
RSLORA = {**PLAIN, "use_rslora": True}
ALPHAS = {**PLAIN, "alpha_pattern": {"down_proj": 3, r"layers\.1\..*up_proj": 32}}
RANKS = {**PLAIN, "rank_pattern": {"v_proj": 2, r"layers\.0\.self_attn\.q_proj": 6}}
CAT, SVD = {"kind": "cat"}, {"kind": "svd", "rank": 8}
CASES = (
    Case("two plain adapters, cat", (PLAIN, PLAIN), "cat", CAT, (1.0, 1.0)),
    Case("two plain adapters, svd at full rank", (PLAIN, PLAIN), "svd", SVD, (1.0, 1.0)),
    Case("two plain adapters, linear", (PLAIN, PLAIN), "linear", SVD, (1.0, 1.0)),
    Case("two plain adapters, ranks 4 and 6, linear", (PLAIN, {**PLAIN, "r": 6}), "linear", CAT, (1.0, 1.0)),
    Case("a plain and one of the other sign, linear", (PLAIN, PLAIN), "linear", SVD, (1.0, -1.0)),
    Case("one rsLoRA adapter, svd", (RSLORA,), "svd", {**SVD, "rank": 4}, (1.0,)),
    Case("two rsLoRA adapters, cat", (RSLORA, RSLORA), "cat", CAT, (1.0, 1.0)),
    Case("two rsLoRA adapters, svd at full rank", (RSLORA, RSLORA), "svd", SVD, (1.0, 1.0)),
    Case("rsLoRA beside plain, cat", (RSLORA, PLAIN), "cat", CAT, (1.0, 1.0)),
    Case("alpha_pattern, cat", (ALPHAS, ALPHAS), "cat", CAT, (1.0, 1.0)),
    Case("rank_pattern, cat", (RANKS, RANKS), "cat", CAT, (1.0, 1.0)),
    Case("rank_pattern, linear", (RANKS, RANKS), "linear", CAT, (1.0, 1.0)),
    Case("one DoRA adapter, svd", ({**PLAIN, "use_dora": True},), "svd", {**SVD, "rank": 4}, (1.0,)),
    Case("one adapter with biases, svd", ({**PLAIN, "lora_bias": True},), "svd", {**SVD, "rank": 4}, (1.0,)),
)


def model_with(case: Case) -> PeftModel:
    """The base with the case's adapters, named a0, a1, …; their B is filled, so that each does something."""
    model = None
    for place, fields in enumerate(case.configs):
        torch.manual_seed(10 + place)
        config = LoraConfig(target_modules=ALL_LINEAR, task_type="CAUSAL_LM", **fields)
        if model is None:
            model = get_peft_model(pico_llama(), config, adapter_name="a0")
        else:
            model.add_adapter(f"a{place}", config)
        for name, parameter in model.named_parameters():
            if f"lora_B.a{place}" in name:
                torch.nn.init.normal_(parameter, std=0.05)
            if f"lora_magnitude_vector.a{place}" in name:
                parameter.data *= 1.1
    return model.eval()


def updates(model: PeftModel, adapter: str) -> Updates:
    """What the adapter adds in every module: [in + 1, out], to each unit vector and to zero, by PEFT's own forward."""
    model.set_adapter(adapter)
    found = {}
    with torch.no_grad():
        for name, module in model.named_modules():
            if hasattr(module, "lora_A"):
                width = module.base_layer.in_features
                inputs = torch.cat([torch.eye(width), torch.zeros(1, width)])
                found[name] = (module(inputs) - module.base_layer(inputs)).double()
    return found


def error(found: Updates, wanted: Updates) -> float:
    """‖found − wanted‖ / ‖wanted‖ over all modules."""
    off = sum(float((found.get(name, torch.zeros(())) - one).square().sum()) for name, one in wanted.items())
    return (off / sum(float(one.square().sum()) for one in wanted.values())) ** 0.5


def truth(case: Case) -> Updates:
    """Σ w_i ΔW_i."""
    each = [updates(model_with(case), f"a{place}") for place in range(len(case.configs))]
    return {name: sum(w * one[name] for w, one in zip(case.weights, each, strict=True)) for name in each[0]}


def by_peft(case: Case, folder: Path) -> Path:
    """The folder that PEFT saves of its merge."""
    model, names = model_with(case), [f"a{place}" for place in range(len(case.configs))]
    extra = {"svd_rank": case.recipe["rank"]} if case.combination == "svd" else {}
    model.add_weighted_adapter(names, list(case.weights), "merged", combination_type=case.combination, **extra)
    model.save_pretrained(folder / "peft", selected_adapters=["merged"])
    return folder / "peft" / "merged"


def by_us(case: Case, folder: Path) -> Path:
    """The folder that this project writes of its own."""
    model = model_with(case)
    model.save_pretrained(folder / "inputs")
    adapters = [read_adapter(folder / "inputs" / f"a{place}") for place in range(len(case.configs))]
    recipe = recipe_from_dict({**case.recipe, "weights": list(case.weights)})
    result = METHODS[recipe.kind].load()(adapters, recipe)
    save_peft(result.weights, folder / "ours", base_model="pico/llama")
    return folder / "ours"


def measured(make: Callable[[Case, Path], Path], case: Case, folder: Path, wanted: Updates) -> str | float:
    """The error of a result that was saved and loaded again, or what was said instead."""
    try:
        made = make(case, folder)
    except CompositionError as refusal:
        return f"refused: {refusal.code}"
    except Exception as refusal:  # PEFT raises what it raises.
        return f"refused: {type(refusal).__name__}"
    try:
        return error(updates(PeftModel.from_pretrained(pico_llama(), str(made)), "default"), wanted)
    except Exception:
        return "can't be loaded again"


def table() -> list[dict]:
    """A row a case: {"case", "peft", "ours"}."""
    rows = []
    for case in CASES:
        with tempfile.TemporaryDirectory() as name, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            folder, wanted = Path(name), truth(case)
            theirs, ours = measured(by_peft, case, folder, wanted), measured(by_us, case, folder, wanted)
        rows.append({"case": case.title, "peft": theirs, "ours": ours})
    return rows


def shown(value: str | float) -> str:
    """An error in two digits."""
    return value if isinstance(value, str) else ("0" if value < 1e-5 else f"{value:.2g}")


def markdown(rows: list[dict]) -> str:
    """The table as docs/merging.md has it."""
    lines = [f"| {row['case']} | {shown(row['peft'])} | {shown(row['ours'])} |" for row in rows]
    return "\n".join(["| case | PEFT's `add_weighted_adapter` | this hub |", "|---|---|---|", *lines])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows as JSON")
    arguments = parser.parse_args()
    rows = table()
    print(markdown(rows))
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
